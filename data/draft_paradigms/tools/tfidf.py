import sys,pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.metrics import matthews_corrcoef as mcc
import re
R=lambda f: pd.read_csv(f,sep='\t',header=None,quoting=3,keep_default_na=False,usecols=[0,1,2,3],names=['s','label','m','text'])
o=R('data/out_of_domain_dev.tsv')
W=lambda t:{w for x in t for w in re.findall(r"[a-z0-9']+",x.lower())}
for n in sys.argv[1:]:
    t,d=R(n+'/train.tsv'),R(n+'/dev.tsv')
    c=make_pipeline(TfidfVectorizer(ngram_range=(1,2)),LogisticRegression(class_weight='balanced',max_iter=1000)).fit(t.text,t.label)
    L=t.text.str.split().str.len()
    print(n,'tfidf dev %.3f ood %.3f'%(mcc(d.label,c.predict(d.text)),mcc(o.label,c.predict(o.text))),'words %.2f sd %.2f'%(L.mean(),L.std()),'types',len(W(t.text)),'all',len(W(t.text)|W(d.text)|W(o.text)),'unseen %.3f'%(len(W(o.text)-W(t.text))/len(W(o.text))))
