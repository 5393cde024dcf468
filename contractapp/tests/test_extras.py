"""Without the extras, every public name of the library can be imported; only modules that need an extra fail."""

import subprocess
import sys

EXTRAS = ("uvicorn", "httptools", "uvloop", "pytest")

WITHOUT = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import contractapp
import contractapp.compat.__main__

for name in contractapp.__all__:
    getattr(contractapp, name)
app = contractapp.ContractApp(__name__)
app.add_api({{"openapi": "3.0.3", "info": {{"title": "a", "version": "1"}}, "paths": {{}}}}, handlers={{}})
print(app.test_client().get("/openapi.json").status_code)
import contractapp.server
"""


def test_only_modules_that_need_an_extra_fail_without_it():
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", WITHOUT], capture_output=True, text=True, check=False)

    assert run.stdout == "200\n", run.stderr
    assert run.stderr.endswith("ModuleNotFoundError: No module named 'uvicorn'\n")
