"""Google's Pub/Sub emulator as a process of ours: which one is started, where it is looked for, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from provider.emulators.ledger import Ledger
from provider.emulators.pubsub import GooglePubSub, choose_pubsub, find_google_emulator
from provider.emulators.rules import Rule, RuleBook
from provider.exceptions import ConfigurationError


def test_signal_at_the_birth_of_the_process_leaves_none_behind(tmp_path, monkeypatch):
    launcher = tmp_path / "launcher"
    launcher.write_text("#!/bin/sh\nexec sleep 600\n")
    launcher.chmod(0o755)
    born = []

    class SignalledPopen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            born.append(self)
            os.kill(os.getpid(), signal.SIGTERM)  # before the caller can know of the process

    monkeypatch.setattr(subprocess, "Popen", SignalledPopen)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit):
            GooglePubSub(launcher, tmp_path).start()
    finally:
        signal.signal(signal.SIGTERM, before)
    (process,) = born
    ended = process.poll()
    process.kill()
    assert ended == -signal.SIGTERM, "a process that nobody knows of is left"


def test_choice(tmp_path, monkeypatch):
    faults = RuleBook([Rule(service="pubsub", fault="drop")])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert find_google_emulator(os.environ) is None
    with pytest.raises(ConfigurationError, match="gcloud components install pubsub-emulator"):
        choose_pubsub("google", RuleBook(), Ledger(), tmp_path)
    with pytest.raises(ConfigurationError, match="fault rules"):
        choose_pubsub("google", faults, Ledger(), tmp_path)
    for rules in (RuleBook(), faults):
        emulator = choose_pubsub("auto", rules, Ledger(), tmp_path)
        assert type(emulator).__name__ == "BuiltinPubSub"
        emulator.stop()


@pytest.mark.parametrize("where", ["path", "root", "beside gcloud"])
def test_where_the_launcher_is_looked_for(tmp_path, where):
    launcher = tmp_path / "sdk" / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    java, gcloud = tmp_path / "java" / "java", tmp_path / "sdk" / "bin" / "gcloud"
    for file in (launcher, java, gcloud):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    environment = {
        "path": {"PATH": f"{java.parent}:{launcher.parent}"},
        "root": {"PATH": str(java.parent), "CLOUDSDK_ROOT": str(tmp_path / "sdk")},
        "beside gcloud": {"PATH": f"{java.parent}:{gcloud.parent}"},
    }[where]
    assert find_google_emulator(environment) == launcher
    assert find_google_emulator({**environment, "PATH": str(launcher.parent)}) is None  # no java
