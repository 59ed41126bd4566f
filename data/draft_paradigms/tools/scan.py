import sys,json,re,pathlib,dataclasses; sys.path.insert(0,'data'); import build_corpus as b
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.metrics import matthews_corrcoef as mcc
D=json.load(open('diff_all.json')); old={}
for f in pathlib.Path('pb').glob('*.txt'):
    for n,l in enumerate(f.read_text().splitlines(),1): old[l.strip()]=f"{f.name}, line {n}"
lex=b.read_lexicon(); con=b.read_contexts()
o,_=b.read_out_of_domain()
def build(lo,hi,times):
    par=b.read_paradigms()
    for p in par:
        if p.name.startswith('short-'): p.times=times
        p.frames=[dataclasses.replace(f,plain_only=not (p.name.startswith('short-') or lo<D.get(old[f.template],.5)<hi)) for f in p.frames]
    return b.build_in_domain(par,lex,con)
def T(tr,dv):
    c=make_pipeline(TfidfVectorizer(ngram_range=(1,2)),LogisticRegression(class_weight='balanced',max_iter=1000)).fit([s.text for s in tr],[s.label for s in tr])
    return [round(mcc([s.label for s in x],c.predict([s.text for s in x])),3) for x in (dv,o)]
if __name__=='__main__':
    for lo in (.05,.1,.13,.15,.2):
        for hi in (.93,.95,.97,.99):
            for t in (3,):
                tr,dv=build(lo,hi,t); print(lo,hi,t,*T(tr,dv),len({s.frame for s in tr if not s.label}),flush=True)
