import sys,re,pandas as pd,numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.metrics import matthews_corrcoef as mcc
rd=lambda f: pd.read_csv(f,sep='\t',header=None,quoting=3,keep_default_na=False,names=['source','label','mark','text','pair'])
w=lambda s:re.findall(r"[a-z0-9']+",s.lower())
o=rd('data/out_of_domain_dev.tsv'); T=lambda d:{x for s in d.text for x in w(s)}
for v in sys.argv[1:]:
    t,d=rd(v+'/train.tsv'),rd(v+'/dev.tsv'); n=t.text.map(lambda s:len(w(s)))
    c=make_pipeline(TfidfVectorizer(ngram_range=(1,2)),LogisticRegression(class_weight='balanced',max_iter=1000)).fit(t.text,t.label)
    print(v,'mean',round(n.mean(),2),'sd',round(n.std(),2),'dev mean',round(d.text.map(lambda s:len(w(s))).mean(),2),'types',len(T(t)),'all',len(T(t)|T(d)|T(o)),'ood unseen',round(len(T(o)-T(t))/len(T(o)),3),'tfidf dev',round(mcc(d.label,c.predict(d.text)),3),'ood',round(mcc(o.label,c.predict(o.text)),3))
