import os, time, threading, socket, multiprocessing
from dataclasses import dataclass
from pathlib import Path
_stop = threading.Event()
def ask_to_stop(): _stop.set()
@dataclass(frozen=True)
class Order:
    study: str; home: Path; data: Path; slots: int = 1; gpus: tuple = (); device: str = ""
    hang_seconds: float = 900.0; checkpoint_seconds: float = 30.0; threads: int = 0
def child(q):
    import sys
    q.put(["ray" in sys.modules, "__mp_main__" in sys.modules])
    while True: time.sleep(1)
def serve(order):
    c = multiprocessing.get_context("forkserver"); q = c.Queue()
    p = c.Process(target=child, args=(q,), daemon=True); t=time.time(); p.start()
    log = order.home / "toy.txt"
    def say(*a):
        with log.open("a") as f: print(socket.gethostname(), os.getpid(), *a, file=f, flush=True)
    say("start", threading.current_thread() is threading.main_thread(), os.environ.get("BENCH_OPTUNA"), os.environ.get("CUDA_VISIBLE_DEVICES"), "child", q.get(), round(time.time()-t,1))
    done = order.home / "done"
    while not _stop.is_set() and not done.exists():
        if (order.home/"fail").exists(): raise RuntimeError("no way to postgresql://u:sesame@h/db")
        assert p.is_alive(), p.exitcode
        time.sleep(0.1)
    say("stopped" if _stop.is_set() else "done", p.is_alive())
    p.kill()
    return 1
