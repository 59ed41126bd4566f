"""drop2.py PARDIR OUTDIR N: leave out the frames of x_*/w_* with the N out-of-domain types (fewest frames first) that no other file has."""
import sys,re,shutil,pathlib
from collections import Counter
src,out,n=pathlib.Path(sys.argv[1]),pathlib.Path(sys.argv[2]),int(sys.argv[3])
w=lambda s:set(re.findall(r"[a-z0-9']+",s.lower()))
ood=set().union(*(w(l.split('\t')[3]) for l in open('data/out_of_domain_dev.tsv')))
lex=set().union(*(w(open(f).read()) for f in pathlib.Path('lexicon').glob('*.tsv')))
own=lambda f:f.name[:2] in('w_','x_')
rest=set().union(*(w(f.read_text()) for f in src.glob('*.txt') if not own(f)),lex,w(open('contexts.txt').read()))
fr=[l for f in sorted(src.glob('*.txt')) if own(f) for l in f.read_text().splitlines() if '[' in l]
new={l:(w(l)&ood)-rest for l in fr}; c=Counter(x for s in new.values() for x in s)
gone={t for t,_ in sorted(c.items(),key=lambda x:(x[1],x[0]))[:n]}
dropped={l for l in fr if new[l]&gone}
out.mkdir(exist_ok=True)
for f in src.glob('*.txt'): (out/f.name).write_text('\n'.join(l for l in f.read_text().splitlines() if l not in dropped)+'\n' if own(f) else f.read_text())
print('types of x/w only',len(c),'gone',len(gone),'frames dropped',len(dropped),'of',len(fr))
