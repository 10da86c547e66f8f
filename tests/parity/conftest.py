"""Last line of a run: "N passed, N failed", as the C tests have it; a test that could not start counts as failed."""


def pytest_unconfigure(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    count = lambda *keys: sum(len(reporter.stats.get(k, [])) for k in keys)
    print(f"{count('passed')} passed, {count('failed', 'error')} failed")
