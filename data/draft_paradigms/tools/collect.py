"""wide/*.tsv -> par_wide/w_wide.txt with one paradigm a phenomenon, frames checked."""
import sys, pathlib, collections
import build_corpus as b
lex=b.read_lexicon(); by=collections.defaultdict(list); bad=0; seen=set()
import glob
for f in sorted(glob.glob('syn/*.tsv')):
    for n,l in enumerate(open(f),1):
        l=l.rstrip('\n')
        if not l.strip(): continue
        c=l.split('\t')
        if len(c)!=2: print(f,n,l); bad+=1; continue
        ph,t=c[0].strip(),c[1].strip()
        try: b.check_frames([b.Paradigm('x','y','',[b.Frame(t,'x','w',False)])],lex)
        except Exception as e: print(f,n,e); bad+=1; continue
        if t in seen: bad+=1; continue
        seen.add(t); by[ph].append(t)
known={p.phenomenon for p in b.read_paradigms()}
out=pathlib.Path(sys.argv[1]); 
with open(out,'w') as o:
    for ph,ts in by.items():
        if ph not in known: print('unknown',ph); continue
        o.write(f"phenomenon {ph}\n\nparadigm wide-syn-{ph.replace(' ','-')}\nabout Made-up examples with a fault of {ph}.\n"+'\n'.join(ts)+'\n\n')
print(sum(map(len,by.values())),bad,{k:len(v) for k,v in by.items()})
