"""Build a train/dev pair in a folder with pair ids: variant.py FOLDER [options]"""
import sys, argparse, importlib, pathlib
import build_corpus as b
a=argparse.ArgumentParser(); a.add_argument('out'); a.add_argument('--contrast-all',action='store_true'); a.add_argument('--paradigms',default='paradigms')
a.add_argument('--contexts',default='contexts.txt'); a.add_argument('--bad',type=float,default=.34); a.add_argument('--rows',type=int,default=8950)
a.add_argument('--aside',default=''); a.add_argument('--contrast',default='') # file with names of paradigms to contrast
a.add_argument('--arg',type=float,default=1); a.add_argument('--wide',type=float,default=1); A=a.parse_args(); b.WIDE=A.wide; b.ARG=A.arg
b.TRAIN_ROWS=A.rows; b.UNACCEPTABLE_SHARE=A.bad
lex=b.read_lexicon(); par=b.read_paradigms(pathlib.Path(A.paradigms)); b.check_frames(par,lex)
names=set(open(A.contrast).read().split()) if A.contrast else set()
for p in par:
    if A.contrast_all or p.name in names: p.acceptable_only=False
aside=set(open(A.aside).read().split()) if A.aside else set()
for p in par:
    if p.name in aside: p.acceptable_only=True
# pair ids
orig=b.Sentence; pairs={}
real=b.yield_paradigm
def yp(*x):
    s,mp,ms=real(*x); i=0
    while i<len(s):
        if i+1<len(s) and s[i].label==1 and s[i+1].label==0 and s[i].frame==s[i+1].frame:
            pairs[s[i].text]=pairs[s[i+1].text]=len(pairs); i+=2
        else: pairs[s[i].text]=len(pairs); i+=1
    return s,mp,ms
b.yield_paradigm=yp
tr,dv=b.build_in_domain(par,lex,b.read_contexts(pathlib.Path(A.contexts)))
out=pathlib.Path(A.out); out.mkdir(exist_ok=True)
for n,s in (('train',tr),('dev',dv)):
    (out/f'{n}.tsv').write_text(''.join(x.row().rstrip('\n')+f'\t{pairs[x.text]}\n' for x in s))
print(len(tr),sum(s.label for s in tr)/len(tr),len(dv), 'frames used',len({s.frame for s in tr}),'contrast frames',len({s.frame for s in tr if not s.label}), 'paradigms contrasted',len({s.source for s in tr if not s.label}))
