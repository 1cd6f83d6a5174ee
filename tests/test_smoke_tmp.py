import time
def test_a(tiny_run):
    t=time.time()
    r,f=tiny_run("method=vanilla"); print(r, sorted(p.name for p in f.rglob('*'))); print(time.time()-t)
    t=time.time()
    r,f=tiny_run("method=agwm","method.num_searches=1"); print(r.phases); print(time.time()-t)
