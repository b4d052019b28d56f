#!/usr/bin/env python3
"""Makes tests/data/templates/cases.json: small templates, and what the reference makes of each with the variables
below: jinja2 as transformers sets it up for chat templates. A row has "out", or "refused" where the reference fails.

    make_template_cases.py OUTPUT_FOLDER

Needs the Python packages jinja2 (3.1) and transformers (5.23).
"""
import copy
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

VARIABLES = {
    "s": "Hello World", "t": " ab\n cd ", "e": "", "u": "é☕ß ŒIǆ", "n": 5, "m": -3, "f": 2.5, "g": 1e22, "b": True,
    "c": False, "no": None, "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "d": {"a": 1, "b": [1, {"c": "x"}], "items": 7},
    "ld": [{"k": "x", "v": 2, "r": True}, {"k": "Y", "v": 1}, {"k": "x", "v": None}], "el": [], "ed": {},
    "q": "it's \"q\"\\", "big": 2**64, "tree": [{"n": "a", "c": [{"n": "b"}, {"n": "c", "c": [{"n": "d"}]}]}],
}
EXPRESSIONS = """
n // 2; n / 2; m // 2; m % 2; n % m; -n ** 2; 2 ** 10; 7.5 // 2; m / 1.5; 1_000; 1e3; 1.5e-7; 0x1F; 0.1 + 0.2; g; big
big == big; n ~ s; s ~ no ~ b; s + t; s * 2; l * 2; l + [4]; (1,) + (2, 3); s + 1; "a" - 1; not n; n and e; e or n; no or undef
n == 5.0; true == 1; "1" == 1; 1 < 2 < 3; 1 < 3 < 2; "a" < "b"; l < [4]; 1 < "a"; n in l; 3 in l; "ell" in s; 1 in "a"
"a" in d; "z" not in d; undef == undef2; undef is defined; undef; undef.x; undef[0]; d.zz; d.zz.y; d["a"]; d.a; d.items
d["items"]; d.b[1].c; d.b[-1]["c"]; d.b[9]; l[0]; l[-1]; l[9]; l["a"]; s[0]; s[-1]; u[0]; u[1]; s[1:3]; s[::-1]; u[::-1]
l[::2]; l[1:]; l[:-1]; l[-2:]; s[3:0:-1]; (1, 2, 3)[1:]; n[1:]; no[0]; l if b; l if c; l if c else s; [1, "a", none, true, 2.0]
{"a": 1, "b": [none]}; (1,); (); (1, 2); "a" "b"; 'it\\'s'; "tab\\t|nl\\n|\\x41\\u00e9\\101\\q"; "é\\é"; [s, u, q, t]; {1: 2, none: 3}
s | upper; s | lower; u | upper; u | lower; "ŒUVRE d'été" | capitalize; "hello wORLD-foo (bar)" | title; "it's a dog" .title()
t | trim; "xxaxx" | trim("x"); ls | join; l | join(", "); ld | join("-", attribute="k"); s | length; u | length; d | count; no | length
l | first; el | first; l | last; "abc" | last; l | sum; l | min; l | max; el | max; ls | sort; ls | sort(case_sensitive=true)
l | sort(reverse=true); ld | sort(attribute="k") | map(attribute="v") | list; ls | unique | join; "aAbB" | unique | join; [1, 1.0, true] | unique | list
ls | map("upper") | list; ld | map(attribute="v") | list; ld | map(attribute="zz", default="-") | join; ls | map("nope") | list
ld | selectattr("r") | list; ld | selectattr("k", "eq", "x") | list; ld | rejectattr("v", "none") | list | length; l | select("odd") | list
l | select | list; l | reject("gt", 1) | list; l | select("nope") | list; d | items | list; d | dictsort; {"B": 1, "a": 2} | dictsort
{"B": 1, "a": 2} | dictsort(true); {"B": 1, "a": 2} | dictsort(by="value", reverse=true); undef | items | list; s | items
ld | groupby("k"); ld | groupby("k") | map(attribute="list") | list; [1, 2, 3, 4, 5] | batch(2, 0) | list; [1, 2, 3, 4, 5] | slice(2) | list
l | reverse | list; "abc" | reverse; "42" | int; "4.7" | int; "x" | int; "x" | int(7); "ff" | int(base=16); f | int; b | int; "1.5" | float
"x" | float; 2.5 | round; 3.5 | round; 2.567 | round(2); -2.5 | round; 2.1 | round(0, "ceil"); 42 | round; m | abs; "5" | abs; s | replace("o", "0")
s | replace("l", "L", 2); "" | replace("", "x"); "abc" | replace("", "-"); undef | default("D"); e | default("D"); e | default("D", true); no | default("D")
q | tojson; u | tojson; u | tojson(ensure_ascii=true); d | tojson; d | tojson(indent=2); d | tojson(separators=(",", ":")); {"b": 1, "a": 2} | tojson(sort_keys=true)
[1.0, 1e22, none, true, big] | tojson; "\\u0000\\u001f\\u007f</script>" | tojson; undef | tojson; [el, ed] | tojson(indent=1); (1, 2) | tojson; l | map("string") | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson; "a\\nb\\n\\nc" | indent; "a\\nb\\n\\nc" | indent(2, true, true); "a\\nb" | indent("> "); "a<b>&'\\"" | e; ("<" | safe) + "<"
"%s and %d" % (s, 3); "%5.2f|%-5s|%05d|%x|%%" % (3.14159, "ab", 42, 255); "%(a)s" % d; "%s" % l; "%s %s" % (1,); "%d" | format(3); "{} {1}".format(1, 2)
"{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}".format(1, 2, 3, 4, 5, 1234567); "{a} {0[1]} {x.y}".format([1, 2], a=3, x={"y": 4}); "{!r}".format("a"); "{".format(1)
s.split(); s.split("l"); s.split("l", 1); s.rsplit("l", 1); "a,,b".split(","); " a  b ".split(); "".split(); "".split(","); "a\\nb\\r\\nc\\n".splitlines()
s.partition(" "); s.rpartition("o"); s.partition("zz"); t.strip(); t.lstrip(); "xyxa".lstrip("xy"); s.startswith("He"); s.endswith(("x", "ld")); s.find("o"); u.find("ß")
s.find("zz"); s.index("zz"); s.rfind("o"); s.count("l"); s.upper(); s.swapcase(); "ß".upper(); "İ".lower(); "ΑΣ".lower(); "5".isdigit(); "a5".isalnum(); "".isalpha()
"7".zfill(3); "-7".zfill(4); "a".center(4, "*"); "a".ljust(3) ~ "|"; "a".rjust(3); ",".join(ls); ",".join(l); "abc".removeprefix("a"); "abc".removesuffix("x")
d.get("a"); d.get("zz"); d.get("zz", 9); d.keys() | list; d.values() | list; ed.items(); ed.keys(); {"a": 1}.items(); l.index(1); l.count(3); l.append(4); d.update({}); d.pop
l.pop is defined; s.nope; s.nope(); n.x; n(); range(3); range(3) | list; range(1, 9, 3) | list; range(5, 0, -2) | list; range(1000000); dict(a=1, b=n); dict(d, z=1)
dict([["x", 1]]); namespace(a=1).a; namespace(_a=1); namespace(a=1); n is odd; n is even; n is divisibleby 5; n is number; b is number; n is integer; b is integer
f is float; s is string; l is sequence; d is mapping; d is iterable; n is iterable; undef is iterable; undef is sequence; b is true; n is true; c is false; no is none; b is boolean
n is eq 5; n is gt 4; n is in l; n is not in l; n is sameas n; s is lower; "abc" is lower; "upper" is filter; "nope" is filter; "odd" is test; range is callable
n is odd and not c; not n is odd; s is defined and n; -n | abs; (-n) | abs; n | string + "x"; l | join("") | int + 1; s | upper | lower | title; raise_exception("no!")
loop is defined; s is nope; (l | length) * 2; l | map("abs") | sum; [[1, 2], [3]] | sum(start=[]); ld[0].k; ld[0]["k"]; ld | map(attribute="k") | unique | sort | join("+")
"a" if undef else "b"; {"a": {"b": 1}}.a.b; {"keys": 1}.keys; [1, 2] == [1, 2]; (1, 2) == [1, 2]; {"a": 1} == {"a": 1.0}; none == false; "b" > "a"; [1, [2]] < [1, [3]]
s | wordcount; u | wordcount; "aaaaaaaaaa bbbbb" | truncate(9); s | attr("upper"); d | attr("a"); "%c" % 65; "%s" % none; "%r" % "a"; "é" | list; "x" | center(5) ~ "|"
"""
TEMPLATES = [
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }} {% else %}none{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}", "{% for x in no %}{% endfor %}", "{% for x in undef %}{% else %}-{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in l %}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in tree recursive %}{{ loop.depth }}{{ x.n }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}",
    "{% for x in l %}{% for y in ls %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}{{ loop is defined }}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% break %}",
    "{% set x = 1 %}{% for y in l %}{% set x = x + y %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(x=0) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}", "{% set d.x = 1 %}",
    "{% if c %}{% set z = 1 %}{% endif %}{{ z is defined }}{% if b %}{% set z = 2 %}{% endif %}{{ z }}",
    "{% set a, b = 1, (2, 3) %}{{ a }}{{ b }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}{{ x is string }}", "{% set x | upper | trim %} ab {% endset %}[{{ x }}]",
    "{% if no %}a{% elif n > 4 %}b{% else %}c{% endif %}", "{% filter upper %}ab{{ s }}{% endfilter %}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% macro f(a, b='B', c=a) %}{{ a }}|{{ b }}|{{ c }};{% endmacro %}{{ f(1) }}{{ f(1, c=2) }}{{ f(b=1, a=2) }}{{ f() }}",
    "{% macro f(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}", "{% macro f() %}{% endmacro %}{{ f(1) }}", "{% macro f() %}{% endmacro %}{{ f(x=1) }}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}in{{ n }}{% endcall %}", "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) f() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro f(x) %}{% if x %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro f() %}{{ y }}{% endmacro %}{% set y = 1 %}{{ f() }}{% set y = 2 %}{{ f() }}",
    "{% for x in l %}{% macro f() %}{{ x }}{{ loop.index }}{% endmacro %}{{ f() }}{% endfor %}", "{{ f.name }}{% macro g() %}{% endmacro %}{{ g.name }}",
    "{% generation %}a{{ n }}{% endgeneration %}", "{% raw %}{{ x }}{% y %}{% endraw %}", "a {%- raw -%} {{ x }} {%- endraw -%} b", "{# c #}a{#- c -#} b {#+ c #} c",
    "a\n{% if b %}\n  x\n{% endif %}\nb\n", "a\n  {% if b %}  \n  x\n  {% endif %}\nb", "a\n  {%- if b -%}\n  x  \n  {%- endif -%}\n b", "a\n  {%+ if b +%}\n x\n {%+ endif +%}\n b",
    "  {{ n }}  \n  {{- n -}}  \n x", "{{ n }}\n", "a\r\nb\rc\r\n", "x{% if b %}y{% endif %}\n\n z", "\n{# c #}\n{# c #}\nb", "{{ {'a': {'b': 1}} }}{{ {} }}", "{% set x = {'a': {}} %}{{ x }}",
    "{{ '}}' }}{{ \"%}\" }}{{ '{{' }}", "{ { }} %} #}", "{{", "{% if %}", "{% if b %}", "{% endif %}", "{{ 1 + }}", "{{ (1 }}", "{{ 1 2 }}", "{{ 'a }}", "{% nope %}", "{{ n | nope }}",
    "{% if c %}{{ n | nope }}{% endif %}", "{% for x in el %}{{ n | nope }}{% endfor %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% for loop in l %}{% endfor %}", "{{ f(a=1, 2) }}", "{# a",
    "{% raw %}", "{{ 09 }}", "{{ a.1.2 }}", "{{ l.0 }}{{ l.1 }}", "{% print n, s %}", "{% set x = n if c %}[{{ x }}]", "{{ [1, 2,] }}{{ (1, 2,) }}{{ {'a': 1,} }}{{ dict(a=1,) }}", "{{ f(*l) }}", "{{ range(*[1, 4]) | list }}",
    "{{ dict(**{'a': 1}) }}", "{{ l[0, 1] }}", "{%- for m in ld %}\n{{- m.k }}\n{%- if not loop.last %}, {% endif %}\n{%- endfor %}", "{% if n is not defined %}a{% else %}b{% endif %}", "{{ n is not none }}",
    "{% for x in ld | selectattr('r') %}{{ x.k }}{% endfor %}", "{% set g = l | map('string') %}{{ g | join }}{{ g | join }}", "{{ undef ~ 'x' }}{{ undef + 'x' }}", "{{ 'a' 'b' ~ 1 }}", "{{ not b and c or n }}", "{{ 1 if b else 2 if c else 3 }}",
]


def main():
    rows = []
    expressions = ["{{ " + each.strip() + " }}" for each in EXPRESSIONS.replace("\n", ";").split(";") if each.strip()]
    for source in expressions + TEMPLATES:
        row = {"template": source}
        try:
            row["out"] = _compile_jinja_template.__wrapped__(source).render(**copy.deepcopy(VARIABLES))
        except Exception as problem:
            row["refused"] = type(problem).__name__
        if " at 0x" not in row.get("out", ""):
            rows.append(row)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=True) for row in rows]
    variables = {name: json.dumps(value) for name, value in VARIABLES.items()}
    text = '{"variables": ' + json.dumps(variables) + ',\n"rows": [\n' + ",\n".join(lines) + "\n]}\n"
    (folder / "cases.json").write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
