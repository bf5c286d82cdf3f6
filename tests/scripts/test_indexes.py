"""scripts/lib/indexes.py: pip's settings in uv's words."""

from __future__ import annotations

from scripts.lib.indexes import pip_settings, uv_environment


def test_each_setting_of_pip_has_its_name_for_uv() -> None:
    """Whoever reaches packages with pip reaches the same ones with uv."""
    listed = """\
:env:.default-timeout='180'
global.cert='/etc/ssl/ca.crt'
global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'
global.find-links='/wheels /more wheels'
global.index-url='https://mirror.example/simple'
global.no-index='true'
"""

    assert {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_FIND_LINKS": "/wheels,/more,wheels",
        "UV_NO_INDEX": "1",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/etc/ssl/ca.crt",
    } == uv_environment(pip_settings(listed), {})


def test_pips_own_precedence_is_kept() -> None:
    """Environment over the section of the command over the global section."""
    listed = """\
global.find-links='/global'
global.index-url='https://global.example'
install.find-links='/install'
:env:.find-links='/environment'
"""

    assert {"find-links": "/environment", "index-url": "https://global.example"} == pip_settings(listed)


def test_what_the_user_told_uv_wins() -> None:
    """A variable of uv's that is already set is left alone."""
    assert "UV_FIND_LINKS" not in uv_environment({"find-links": "/pip"}, {"UV_FIND_LINKS": "/uv"})
