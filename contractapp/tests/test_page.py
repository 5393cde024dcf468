"""README.md does what it says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "README.md"


def test_the_ten_lines_run_and_print_what_the_page_shows(tmp_path):
    blocks = dict(re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    (tmp_path / "hello.yaml").write_text(blocks["yaml"])
    (tmp_path / "hello.py").write_text(blocks["python"])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "hello.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stdout, run.stderr) == (blocks[""], "")
    assert len([line for line in blocks["python"].splitlines() if line]) <= 10


def test_the_page_names_every_argument_and_every_option_left_to_stock():
    import inspect

    from contractapp import ContractApp
    from contractapp.serve.connexion import OPTIONS_LEFT_TO_STOCK

    text = PAGE.read_text()
    own = set(inspect.signature(ContractApp).parameters) - {
        "import_name",
        "options",
        "middlewares",
        "swagger_ui_options",
    }

    assert set(re.findall(r"^\| `(\w+)` \| (?:`Workers|none|1048576|`Problem)", text, re.MULTILINE)) == own
    assert all(f"`{option}`" in text for option in OPTIONS_LEFT_TO_STOCK)
