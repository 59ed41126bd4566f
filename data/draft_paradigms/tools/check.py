"""check.py FILE: do the frames of FILE fit the notation? Prints problems, or two fillings of each frame with --show."""
import sys, tempfile, shutil, pathlib
sys.path.insert(0,'data')
import build_corpus as b
f=pathlib.Path(sys.argv[1]); lex=b.read_lexicon()
old={x for p in b.read_paradigms() for x in [fr.template for fr in p.frames]}
with tempfile.TemporaryDirectory() as d:
    shutil.copy(f,pathlib.Path(d)/f.name)
    try: par=b.read_paradigms(pathlib.Path(d))
    except b.ParadigmError as e: sys.exit(str(e))
n=0
for p in par:
    for fr in p.frames:
        n+=1
        if fr.template in old: print(fr.where,'stands in the corpus already:',fr.template)
        try:
            b.check_frames([b.Paradigm('x','y','',[fr])],lex)
            for k in range(2):
                g,bad=b.fill(fr,k,lex,False)
                if '--show' in sys.argv: print(*g,*('  *'+x for x in bad),sep='\n')
        except b.ParadigmError as e: print(e)
print(n,'frames in',len(par),'paradigms')
