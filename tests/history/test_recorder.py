


def test_one_that_nobody_has_any_more_holds_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    recorder = Recorder(tmp_path)
    recorder.write("instances", [{"id": "a/1"}])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del recorder
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
