"""Writes what transformers' apply_chat_template renders for some conversations, under several chat templates.

    python chat_goldens.py

v3.jinja is the template published with DeepSeek-V3; the others are in the style of R1, V3.1, V2 and of community
templates that list tools. The output is gzip'd JSON lines:
  {"template", "messages", "tools", "add_generation_prompt", "variables", "expected"}    or, where rendering fails,
  {"template", "messages", "tools", "add_generation_prompt", "variables", "error"}
`variables` are further names the template sees, bos_token and eos_token among them.
"""

import gzip
import itertools
import json
import pathlib

from transformers.utils.chat_template_utils import render_jinja_template

HERE = pathlib.Path(__file__).resolve().parent
V3_TOKENS = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, \"now\" <or> later & 'soon'.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Berlin", "北京", "São Paulo"]},
                                                    "days": {"type": "integer", "default": 1, "minimum": 0}},
                   "required": ["city"]}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {
    "type": "object", "properties": {}, "additionalProperties": False, "x-limit": [1.5, -2, 1e-7, None, True]}}}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str | None, *calls: dict, **more) -> dict:
    return {"role": "assistant", "content": text} | ({"tool_calls": list(calls)} if calls else {}) | more


def call(name: str, arguments: str, identifier: str = "call_0") -> dict:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(text: str, identifier: str = "call_0") -> dict:
    return {"role": "tool", "tool_call_id": identifier, "content": text}


BERLIN = call("get_weather", '{"city": "Berlin", "days": 2}')
BEIJING = call("get_weather", '{"city": "北京"}', "call_1")
TIME = call("clock", "{}", "call_2")

CONVERSATIONS = {
    "one question": [user("What is 47 + 85?")],
    "chinese": [user("47加85等于多少？")],
    "empty text": [user("")],
    "system": [system("You are a helpful assistant."), user("Hi")],
    "empty system": [system(""), user("Hi")],
    "padded system": [system("  spaces \n"), user("  Hi\n")],
    "two systems": [system("One."), system("Two."), user("Hi")],
    "late system": [user("Hi"), assistant("Hello"), system("Be brief."), user("Bye")],
    "two turns": [user("Hi"), assistant("Hello!"), user("And 1+1?")],
    "three turns": [system("s"), user("a"), assistant("b"), user("c"), assistant("d"), user("e")],
    "ends with assistant": [user("Hi"), assistant("Hello!")],
    "two users": [user("a"), user("b")],
    "two assistants": [user("a"), assistant("b"), assistant("c"), user("d")],
    "starts with assistant": [assistant("Welcome."), user("Hi")],
    "reasoning": [user("1+1?"), assistant("<think>\nOne and one.\n</think>\n\n2"), user("2+2?")],
    "reasoning twice": [user("1+1?"), assistant("<think>a</think>b</think>c"), user("2+2?")],
    "reasoning unopened": [user("1+1?"), assistant("thoughts</think>\n2"), user("2+2?")],
    "reasoning unfinished": [user("1+1?"), assistant("<think>\nhmm"), user("go on")],
    "reasoning empty": [user("1+1?"), assistant("<think>\n\n</think>\n\n"), user("?")],
    "reasoning alone at the end": [user("1+1?"), assistant("</think>2")],
    "reasoning field": [user("1+1?"), assistant("2", reasoning_content="One and one."), user("2+2?")],
    "special tokens in text": [user("<｜Assistant｜><think>\n<｜end▁of▁sentence｜>"), assistant("</s>"), user("<｜tool▁sep｜>")],
    "braces and quotes": [user("{{ bos_token }} {% if x %} {# y #} \"q\" 'a' \\n \\ \t")],
    "markup": [user("<b>&amp;</b> `code`\n```json\n{\"a\": 1}\n```\n")],
    "unicode": [user("👨‍👩‍👧 é ﷽ \u2028 \x00 \U0001f600")],
    "newlines": [user("\n\nline\r\n\n"), assistant("\n\nanswer\n"), user("\n")],
    "one call": [user("Weather?"), assistant(None, BERLIN)],
    "one call and output": [user("Weather?"), assistant(None, BERLIN), tool("21 °C")],
    "one call and answer": [user("Weather?"), assistant(None, BERLIN), tool("21 °C"), assistant("It is 21 °C.")],
    "after the answer": [user("Weather?"), assistant(None, BERLIN), tool("21"), assistant("21 °C."), user("Thanks")],
    "two calls": [user("Weather?"), assistant(None, BERLIN, BEIJING)],
    "two calls and outputs": [user("Weather?"), assistant(None, BERLIN, BEIJING), tool("21"), tool("晴", "call_1")],
    "three calls": [system("s"), user("?"), assistant(None, BERLIN, BEIJING, TIME), tool("1"), tool("2", "call_1"),
                    tool("3", "call_2"), assistant("done"), user("more")],
    "call with text": [user("Weather?"), assistant("Let me look.", BERLIN), tool("21")],
    "call with empty text": [user("Weather?"), assistant("", BERLIN), tool("21")],
    "call after call": [user("?"), assistant(None, BERLIN), tool("1"), assistant(None, TIME), tool("12:00", "call_2")],
    "calls in two turns": [user("?"), assistant(None, BERLIN), tool("1"), assistant("one"), user("and?"),
                           assistant(None, TIME), tool("12:00", "call_2"), assistant("noon")],
    "output without call": [user("?"), tool("42")],
    "reasoned answer to output": [user("?"), assistant(None, BERLIN), tool("1"), assistant("<think>x</think>one")],
    "calls given as none": [user("?"), assistant("hello", tool_calls=None), user("!")],
    "no messages": [],
    "only a system message": [system("alone")],
    "unknown role": [{"role": "critic", "content": "bad"}, user("?")],
    "content missing": [user("?"), {"role": "assistant"}, user("!")],
    "prefix": [user("?"), assistant("Sure", prefix=True)],
}
TOOLS = [None, [WEATHER, CLOCK]]


def variations(template: str) -> list[tuple[list | None, bool, dict]]:
    """(tools, add_generation_prompt, further variables) to render each conversation with."""
    tools = TOOLS if template == "tools_style" else [None]
    flags = [{"thinking": True}, {"thinking": False}] if template == "v3_1_style" else [{}]
    return list(itertools.product(tools, (False, True), flags))


def render(source: str, messages: list, tools: list | None, generation: bool, variables: dict) -> dict[str, str]:
    try:
        texts, _ = render_jinja_template([messages], tools=tools, chat_template=source,
                                         add_generation_prompt=generation, **variables)
    except Exception as error:  # noqa: BLE001 - whatever a template raises is part of the expected outcome
        return {"error": f"{type(error).__name__}: {error}"}
    return {"expected": texts[0]}


def main() -> None:
    lines, failures = [], 0
    for path in sorted((HERE / "chat_templates").glob("*.jinja")):
        source = path.read_bytes().decode("utf-8")
        for messages in CONVERSATIONS.values():
            for tools, generation, flags in variations(path.stem):
                variables = V3_TOKENS | flags
                outcome = render(source, messages, tools, generation, variables)
                failures += "error" in outcome
                case = {"template": path.stem, "messages": messages, "tools": tools,
                        "add_generation_prompt": generation, "variables": variables} | outcome
                lines.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    packed = gzip.compress(("\n".join(lines) + "\n").encode("utf-8"), mtime=0)
    (HERE / "chat_goldens.jsonl.gz").write_bytes(packed)
    print(f"{len(lines)} renderings of {len(CONVERSATIONS)} conversations, {failures} failing, {len(packed)} bytes")


if __name__ == "__main__":
    main()
