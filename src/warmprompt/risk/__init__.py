"""Risk of accounts and banks: few-shot profiles, payment networks, clearing, contagion, settlement.

Needs the extra `risk`, all of which is looked for here: a missing package is an error before any work begins.
"""

from importlib.util import find_spec

for _module in ("lxml", "mapie", "numba", "river"):
    if find_spec(_module) is None:
        raise ModuleNotFoundError(
            f"No module named {_module!r}; warmprompt.risk needs the extra 'risk'", name=_module
        )
