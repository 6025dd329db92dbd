"""Python scripts in processes of their own, forked from one that has imported the libraries.

A tool spends most of a short test on imports. One process of each test worker does them once,
computes nothing, and is forked for every call, so that a call has the state of a fresh one.
"""
import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import ROOT

SERVER = '''
import gc, json, os, runpy, sys
import mmengine.runner, mmseg.apis, mmpretrain.apis, mmseg.models, mmpretrain.models
import mmvitlin.apis, mmvitlin.engine.runner.cli, mmvitlin.engine.runner.launch, mmvitlin.models
gc.collect()
gc.freeze()
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    for number, path in enumerate(job['files']):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['env'])
    module, *sys.argv[1:] = job['argv'][1:] if job['argv'][0] == '-m' else job['argv']
    sys.path[0] = job['cwd'] if job['argv'][0] == '-m' else os.path.dirname(module)
    if job['argv'][0] == '-m':
        runpy.run_module(module, run_name='__main__', alter_sys=True)
    else:
        sys.argv[0] = module
        runpy.run_path(module, run_name='__main__')
    sys.exit()
'''
_servers = []


def _server():
    """This worker's process, started when it is first asked for."""
    if not _servers or _servers[0].poll() is not None:
        _servers[:] = [subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', SERVER], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=dict(os.environ, PYTHONPATH=f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"))]
        atexit.register(_servers[0].kill)
    return _servers[0]


def python(*command, cwd=ROOT, env=None):
    """``python SCRIPT …`` or ``python -m MODULE …``, as :func:`subprocess.run` with its output.

    Args:
        command: Script, or '-m' and a module, and the arguments.
        cwd: Folder to run in.
        env: Variables beside those of this process.
    """
    command = [str(word) for word in command]
    if command[0] != '-m':
        command[0] = str(Path(cwd, command[0]))
    with tempfile.TemporaryDirectory() as folder:
        files = [os.devnull, *(str(Path(folder, name)) for name in ('out', 'err'))]
        server = _server()
        print(json.dumps(dict(argv=command, cwd=str(cwd), files=files, env={
            **os.environ, **(env or {})})), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        assert answer, 'the process that tests fork from has ended'
        out, err = (Path(name).read_text() if Path(name).exists() else '' for name in files[1:])
    return subprocess.CompletedProcess(command, int(answer), out, err)
