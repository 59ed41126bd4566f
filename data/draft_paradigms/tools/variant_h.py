"""variant.py OUT [--hard train|both] [--min 0.0] [--weight 1] [--rows] [--in-dev 1|0]: contrasts the set-aside paradigms in training"""
import sys, argparse, pathlib, csv
sys.path.insert(0,'data'); import build_corpus as b
a=argparse.ArgumentParser(); a.add_argument('out'); a.add_argument('--contrast',type=int,default=0); a.add_argument('--min',type=float,default=0)
a.add_argument('--weight',type=float,default=1); a.add_argument('--wide',type=float,default=1); a.add_argument('--rows',type=int,default=8950); a.add_argument('--indev',type=int,default=1); a.add_argument('--only',default=''); a.add_argument('--framesout',default=''); a.add_argument('--dlo',type=float,default=-9); a.add_argument('--dmode',default='all'); a.add_argument('--ctx',type=float,default=.22); a.add_argument('--lo',type=float,default=-9); a.add_argument('--hi',type=float,default=9); a.add_argument('--split',type=int,default=0); a.add_argument('--par',default=''); a.add_argument('--bare',type=float,default=1); a.add_argument('--drop',default=''); a.add_argument('--unpair',type=int,default=0); a.add_argument('--bad',type=float,default=.34)
A=a.parse_args()
b.CONTEXT_SHARE=A.ctx; b.TRAIN_ROWS=A.rows; b.UNACCEPTABLE_SHARE=A.bad
BW=lambda p: A.bare if p.frames[0].where.startswith('bare') else 1
lex=b.read_lexicon(); par=b.read_paradigms(pathlib.Path(A.par)) if A.par else b.read_paradigms(); b.check_frames(par,lex)
learned={r[list(r)[0]]:float(r['balanced'] if 'balanced' in r else 1) for r in csv.DictReader(open('learned.csv'))}
hard={p.name for p in par if p.acceptable_only}
use={n for n in hard if A.contrast and learned.get(n,1)>=A.min}
pairs={}
real=b.yield_paradigm
def yp(*x):
    s,mp,ms=real(*x); i=0
    while i<len(s):
        if i+1<len(s) and s[i].label==1 and s[i+1].label==0 and s[i].frame==s[i+1].frame:
            pairs[s[i].text]=pairs[s[i+1].text]=len(pairs); i+=2
        else: pairs[s[i].text]=len(pairs); i+=1
    return s,mp,ms
b.yield_paradigm=yp
def unpaired(name, frames, pairs_, singles, lexicon, contexts, held_out, taken, forbidden):
    if held_out or not A.unpair: return yp(name, frames, pairs_, singles, lexicon, contexts, held_out, taken, forbidden)
    bad, good = pairs_, singles+pairs_
    sentences=[]; names={w.lemma for w in lexicon['name']}
    order=sorted(frames,key=lambda f:b.draw(2**60,'frame order',f.template))
    for filling in range(40):
        for turn,f in enumerate(order):
            if not bad and not good: return sentences,0,0
            want=bool(bad) and (not good or b.draw(bad+good,'which',name,filling,turn)<bad)
            acc,un=b.fill(f,filling,lexicon,held_out); key=(f.template,filling)
            g=acc[b.draw(len(acc),*key,'good')]; x=un[b.draw(len(un),*key,'bad')]
            g,x=b.set_in_context((g,x),contexts,held_out,names,key)
            t=x if want else g; n=' '.join(b.normalise(t))
            if n in taken: continue
            taken.add(n); sentences.append(b.Sentence(name,0 if want else 1,t,f.where)); pairs[t]=len(pairs)
            if want: bad-=1
            else: good-=1
    return sentences,bad,good
b.yield_paradigm=unpaired
import json
D=json.load(open('diff_all.json'))
DROP=set(open(A.drop).read().split('\n')) if A.drop else set()
def good_for_pair(f): return f.where not in DROP and (f.where.startswith('bare') or A.lo<D.get(f.where,.5)<A.hi)
def split(name, frames, np_, ns, lexicon, contexts, held_out, taken, forbidden):
    if not A.split: return unpaired(name, frames, np_, ns, lexicon, contexts, held_out, taken, forbidden)
    P=[f for f in frames if good_for_pair(f)]; S=[f for f in frames if f not in P and f.where not in DROP]
    out,mp,ms=yp(name,P,np_,0,lexicon,contexts,held_out,taken,forbidden) if P else ([],np_,0)
    if not np_: out,mp=[],0
    s2=[];ms=ns
    if ns and S:
        # one filling each of the frames without pair, then the frames with one
        n=min(ns,len(S) if not held_out else ns); s2,_,left=yp(name,S,0,n,lexicon,contexts,held_out,taken,forbidden); ms=ns-n+left
    if ms:
        used={x.frame for x in out}
        for L in ([f for f in P if f.where not in used],P,S):
            if ms and L:
                n=min(ms,len(L)) if L is not S else ms
                s3,_,left=yp(name,L,0,n,lexicon,contexts,held_out,taken,forbidden); s2+=s3; ms=ms-n+left
    return out+s2,mp,ms
b.yield_paradigm=split
def quotas(paradigms, frames, rows):
    w={p.name: 0 if p.acceptable_only else (len(frames[p.name]) if not A.split else sum(map(good_for_pair,frames[p.name])))*BW(p)*(A.weight if p.name in use else A.wide if p.training_only else 1) for p in paradigms}
    pairs=b.share_out(round(b.UNACCEPTABLE_SHARE*rows),w)
    from collections import Counter
    of=Counter()
    for p in paradigms: of[p.phenomenon]+=pairs[p.name]
    singles={}
    for ph,n in b.share_out(rows-2*sum(pairs.values()),of).items():
        m={p.name:len(frames[p.name])*BW(p) for p in paradigms if p.phenomenon==ph}
        singles|=b.share_out(n,m) if n else dict.fromkeys(m,0)
    return pairs,singles
b.quotas=quotas
con=b.read_contexts()
trained={p.name:[f for f in p.frames if not f.held_out] for p in par}
if A.only:
    keep=set(open(A.only).read().split('\n'))|{f.where for p in par for f in p.frames if f.where.startswith('bare')}; keep-=set(open(A.drop).read().split('\n')) if A.drop else set(); trained={n:[f for f in fr if f.where in keep] for n,fr in trained.items()}
held={p.name:[f for f in p.frames if f.held_out] for p in par}
if A.only: held={n:[f for f in fr if f.where in keep] for n,fr in held.items()}
for p in par:
    if p.name in use: p.acceptable_only=False
tr=b.build_part(par,trained,A.rows,lex,con,False,set(),set())
taken={" ".join(b.normalise(s.text)) for s in tr}
forb=set().union(*(b.neighbours(s.text) for s in tr))

if A.dmode=='hardplain':
    for p in par:
        if p.name in use: p.acceptable_only=True
if A.dlo>-9:
    _old=good_for_pair
    def good_for_pair(f): return _old(f) and (f.where.startswith('bare') or D.get(f.where,.5)>A.dlo)
B=lambda p: p.frames[0].where.startswith('bare')
par=[p for p in par if not p.training_only and not (A.dmode in ('hardplain','nobare') and B(p))]
con_f={x.frame for x in tr if not x.label}
# contrasts of known frames only where training shows the contrast
tr_known={n:[f for f in fr if f.where in con_f or not good_for_pair(f)] for n,fr in trained.items()}
nf=round(.3*b.DEV_ROWS)
dv=b.build_part(par,held,nf,lex,con,True,taken,forb); dv+=b.build_part(par,tr_known,b.DEV_ROWS-nf,lex,con,True,taken,forb)
out=pathlib.Path(A.out); out.mkdir(exist_ok=True)
for n,s in (('train',b.shuffle(tr)),('dev',b.shuffle(dv))):
    (out/f'{n}.tsv').write_text(''.join(x.row().rstrip('\n')+f'\t{pairs[x.text]}\n' for x in s))
print(A.out,len(tr),sum(s.label for s in tr)/len(tr),len(dv),'frames',len({s.frame for s in tr}),'contrast frames',len({s.frame for s in tr if not s.label}),'paradigms contrasted',len({s.source for s in tr if not s.label}),'bad of hard',sum(s.source in use for s in tr if not s.label), 'bad of bare',sum(s.frame.startswith('bare') for s in tr if not s.label),'bad of wide',sum(s.source.startswith('wide') for s in tr if not s.label))

if A.framesout: open(A.framesout,'w').write('\n'.join(sorted({s.frame for s in tr})))
