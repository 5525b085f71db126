#!/usr/bin/env python3
"""Random conversations, rendered and parsed by the official programs, for tests/golden_harmony.

    TIKTOKEN_ENCODINGS_BASE=DIR python scripts/golden_harmony.py --template chat_template.jinja --out DIR --seed 1
    GOLDEN_DIR=DIR cargo test --test golden_harmony

DIR of the first line holds o200k_base.tiktoken. Needs openai-harmony 0.0.8 and jinja2 3.1.6, and the chat template of
a gpt-oss checkpoint. The files are those of tests/golden/harmony, whose README describes them; the lists that no
random data can fill are empty.
"""

import argparse
import json
import pathlib
import random

import jinja2
import jinja2.ext
import jinja2.sandbox
import openai_harmony as harmony
from openai_harmony import Author, DeveloperContent, Message, Role, SystemContent, TextContent

WORDS = ["alpha", "Größe", "two words", "漢字", "42", "naïve", "a/b", "x\ny", " lead", "tail ", "😀", "don't", "`q`", '"q"', "it's", "\t", "é", "1e5", "foo.bar"]
NAMES = ["city", "unit", "n", "two_words", "items", "type", "Ünicode", "x1", "deep", "default", "enum", "name"]
CHANNELS = ["analysis", "commentary", "final", None]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, most=6):
        return " ".join(self.random.choice(WORDS) for _ in range(self.random.randint(0, most)))

    def maybe(self, share=0.5):
        return self.random.random() < share

    def value(self, depth=0):
        kinds = ["null", "bool", "int", "float", "text"] + (["list", "map"] if depth < 2 else [])
        kind = self.random.choice(kinds)
        if kind == "list":
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        if kind == "map":
            return {self.random.choice(NAMES): self.value(depth + 1) for _ in range(self.random.randint(0, 3))}
        return {
            "null": None,
            "bool": self.maybe(),
            "int": self.random.choice([0, 1, -7, 2**40, 12345678901234567890]),
            "float": self.random.choice([0.5, 1.0, -0.0, 1e16, 1e21, 1e-7, 0.0001, 123456.789, 1e22, 5e-324, 1.7976931348623157e308]),
            "text": self.text(3),
        }[kind]

    def schema(self, depth=0):
        kinds = ["string", "number", "integer", "boolean", "enum", "any", "types", "array", "oneOf", "null"]
        kinds += ["object"] * 2 if depth < 3 else []
        kind = self.random.choice(kinds if depth < 3 else kinds[:7])
        schema = {}
        if kind == "enum":
            schema["type"] = "string"
            schema["enum"] = [self.random.choice(WORDS) for _ in range(self.random.randint(0, 3))]
        elif kind == "types":
            schema["type"] = self.random.sample(["string", "integer", "null", "number"], self.random.randint(1, 3))
        elif kind == "array":
            schema["type"] = "array"
            if self.maybe(0.8):
                schema["items"] = self.schema(depth + 1)
        elif kind == "oneOf":
            schema["oneOf"] = [self.schema(depth + 1) for _ in range(self.random.randint(1, 3))]
        elif kind == "object":
            schema["type"] = "object"
            if self.maybe(0.9):
                schema["properties"] = {
                    self.random.choice(NAMES): self.schema(depth + 1) for _ in range(self.random.randint(0, 3))
                }
            if self.maybe():
                schema["required"] = self.random.sample(NAMES, 4)
        elif kind != "any":
            schema["type"] = kind
        for key, value in [
            ("description", lambda: self.text()),
            ("title", lambda: self.text(2)),
            ("examples", lambda: [self.value(2) for _ in range(2)]),
            ("nullable", lambda: self.maybe()),
        ]:
            if self.maybe(0.25):
                schema[key] = value()
        if self.maybe(0.3):
            # The template joins a default of an enum or a union with a text.
            joined = schema.get("enum") or schema.get("oneOf")
            schema["default"] = self.text(2) if joined else self.value(1)
        items = list(schema.items())
        self.random.shuffle(items)
        return dict(items)

    def tools(self):
        return [
            {
                "name": f"f{index}",
                "description": self.text(),
                "parameters": None if self.maybe(0.15) else self.parameters(),
            }
            for index in range(self.random.choice([0, 0, 1, 2, 3]))
        ]

    def parameters(self):
        schema = {"type": "object"}
        if self.maybe(0.9):
            schema["properties"] = {self.random.choice(NAMES): self.schema(1) for _ in range(self.random.randint(0, 4))}
        if self.maybe():
            schema["required"] = self.random.sample(NAMES, 4)
        return schema

    def system(self):
        if self.maybe(0.15):
            return None
        date = self.random.choice([None, "2025-06-28", "1999-12-31"])
        return {
            "model_identity": self.random.choice([None, "You are ChatGPT, a large language model trained by OpenAI.", self.text()]),
            "knowledge_cutoff": self.random.choice([None, "2024-06"]),
            "conversation_start_date": date,
            "reasoning_effort": self.random.choice([None, "low", "medium", "high"]),
            "builtin_tools": self.random.choice([[], [], ["browser"], ["python"], ["browser", "python"]]),
            "valid_channels": self.random.choice([[], ["analysis", "commentary", "final"], ["final"]]),
        }

    def message(self):
        role = self.random.choice(["user", "assistant", "assistant", "tool", "developer"])
        message = {"role": role}
        if role != "developer" and self.maybe(0.2):
            message["contents"] = [self.text(2) for _ in range(self.random.randint(1, 4))]
        else:
            message["content"] = self.text()
        if role == "assistant":
            channel = self.random.choice(CHANNELS)
            if channel:
                message["channel"] = channel
            if self.maybe(0.4):
                message["thinking"] = self.text()
            if self.maybe(0.3):
                message["recipient"] = self.random.choice(["functions.f0", "python", "all", "browser.search"])
            if self.maybe(0.3):
                message["content_type"] = self.random.choice(["json", "<|constrain|>json", "code", "<|constrain|>"])
        if role == "tool":
            message |= {"name": self.random.choice(["functions.f0", "python", "browser.open"]), "recipient": "assistant", "channel": "commentary"}
        elif self.maybe(0.1):
            message["name"] = self.random.choice(["alice", "bob b"])
        return message

    def chat(self):
        """Messages that the template takes."""
        messages = []
        if self.maybe():
            messages.append({"role": self.random.choice(["system", "developer"]), "content": self.text()})
        called = False
        for _ in range(self.random.randint(1, 6)):
            kind = self.random.choice(["user", "answer", "call", "result"])
            if kind == "user":
                messages.append({"role": "user", "content": self.text()})
            elif kind == "answer":
                message = {"role": "assistant", "content": self.text()}
                if self.maybe():
                    message["thinking"] = self.text()
                messages.append(message)
                called = False
            elif kind == "call":
                call = {"name": f"f{self.random.randint(0, 3)}", "arguments": {self.random.choice(NAMES): self.value() for _ in range(2)}}
                message = {"role": "assistant", "tool_calls": [{"type": "function", "function": call}]}
                if self.maybe():
                    message[self.random.choice(["thinking", "content"])] = self.text()
                messages.append(message)
                called = True
            elif called:
                content = self.random.choice([self.text(), {"ok": self.value(1)}, [self.text(), 1], ["a", "b"]])
                messages.append({"role": "tool", "content": content})
        return messages


def as_harmony(case):
    """The messages of the library with what each was made of."""
    made = []
    system, tools = case["system"], case["tools"]
    if system is not None:
        channels = system["valid_channels"]
        content = SystemContent(
            model_identity=system["model_identity"],
            knowledge_cutoff=system["knowledge_cutoff"],
            conversation_start_date=system["conversation_start_date"],
            reasoning_effort=system["reasoning_effort"] and harmony.ReasoningEffort(system["reasoning_effort"].capitalize()),
            channel_config=harmony.ChannelConfig.require_channels(channels) if channels else None,
        )
        for name in system["builtin_tools"]:
            content = content.with_browser_tool() if name == "browser" else content.with_python_tool()
        made.append(("system", None, Message.from_role_and_content(Role.SYSTEM, content)))
    tools = [harmony.ToolDescription.new(tool["name"], tool["description"], tool["parameters"]) for tool in tools]
    if tools and not any(message["role"] == "developer" for message in case["messages"]):
        content = DeveloperContent.new().with_function_tools(tools)
        made.append(("tools", None, Message.from_role_and_content(Role.DEVELOPER, content)))
    told = False
    for index, message in enumerate(case["messages"]):
        author = Author(role=Role(message["role"]), name=message.get("name"))
        if "thinking" in message:
            thinking = Message.from_role_and_content(Role.ASSISTANT, message["thinking"]).with_channel("analysis")
            made.append(("thinking", index, thinking))
        if message["role"] == "developer":
            content = DeveloperContent.new().with_instructions(message["content"])
            if tools and not told:
                content, told = content.with_function_tools(tools), True
            contents = [content]
        else:
            contents = [TextContent(text=text) for text in message.get("contents", [message.get("content")])]
        headers = {key: message[key] for key in ("channel", "recipient", "content_type") if key in message}
        made.append(("content", index, Message(author=author, content=contents, **headers)))
    return made


def dropped(made):
    """The rule of auto_drop_analysis."""
    assistants = [message for _, _, message in made if message.author.role == Role.ASSISTANT]
    finals = [index for index, (_, _, message) in enumerate(made) if message.channel == "final"]
    if not assistants or assistants[-1].channel != "final":
        return set()
    return {index for index, (_, _, message) in enumerate(made) if index < finals[0] and message.channel == "analysis"}


def spans_of(encoding, made, gone, has_functions):
    at, spans = 0, []
    options = harmony.RenderOptions(conversation_has_function_tools=has_functions)
    marker = encoding.encode("<|message|>", allowed_special="all")[0]
    for index, (source, message, item) in enumerate(made):
        span = {"source": source, "message": message, "role": item.author.role.value, "channel": item.channel}
        if index in gone:
            spans.append(span | {"span": None, "content": None})
            continue
        tokens = encoding.render(item, options)
        start = at + tokens.index(marker) + 1
        spans.append(span | {"span": [at, at + len(tokens)], "content": [start, at + len(tokens) - 1]})
        at += len(tokens)
    return spans


def masks_of(spans, n_tokens):
    shown = [span for span in spans if span["span"]]
    users = [index for index, span in enumerate(shown) if span["role"] == "user"]
    last_user = users[-1] if users else -1
    masks = {name: [] for name in ("assistant", "assistant_with_inner_starts", "final_only", "last_turn", "all")}
    masks["all"] = [[0, n_tokens]] if n_tokens else []
    for index, span in enumerate(shown):
        if span["role"] != "assistant":
            continue
        start, end = span["span"]
        trained = [start + 2, end]
        masks["assistant"].append(trained)
        inner = index > 0 and shown[index - 1]["role"] == "assistant"
        masks["assistant_with_inner_starts"].append([start, end] if inner else trained)
        if span["channel"] == "final":
            masks["final_only"].append(trained)
        if index > last_user:
            masks["last_turn"].append(trained)
    return masks


def conversation_case(encoding, maker, name):
    case = {"system": maker.system(), "tools": maker.tools(), "messages": [maker.message() for _ in range(maker.random.randint(0, 6))]}
    made = as_harmony(case)
    conversation = harmony.Conversation.from_messages([message for _, _, message in made])
    keep = harmony.RenderConversationConfig(auto_drop_analysis=False)
    text = lambda tokens: {"text": encoding.decode(tokens), "tokens": tokens}
    training = encoding.render_conversation_for_training(conversation)
    kept = encoding.render_conversation_for_training(conversation, keep)
    has_functions = bool(case["tools"])
    spans = spans_of(encoding, made, dropped(made), has_functions)
    out = {
        "id": name,
        "covers": ["random"],
        "input": case,
        "render": text(encoding.render_conversation(conversation)),
        "training": text(training),
        "completion": text(encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)),
        "spans": spans,
        "masks": masks_of(spans, len(training)),
    }
    if kept != training:
        all_spans = spans_of(encoding, made, set(), has_functions)
        out["training_keep_analysis"] = text(kept) | {"spans": all_spans, "masks": masks_of(all_spans, len(kept))}
    return out


def template_of(path):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])

    def fail(message):
        raise jinja2.exceptions.TemplateError(message)

    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda _: "2025-06-28"
    return environment.from_string(pathlib.Path(path).read_text(encoding="utf-8"))


def template_case(encoding, maker, template, name):
    tools = [{"type": "function", "function": tool} for tool in maker.tools()] or None
    messages = maker.chat()
    kwargs = {}
    if maker.maybe():
        kwargs["reasoning_effort"] = maker.random.choice(["low", "medium", "high"])
    if maker.maybe(0.2):
        kwargs["builtin_tools"] = maker.random.choice([["browser"], ["python", "browser"]])
    out = {"id": name, "messages": messages, "tools": tools, "kwargs": kwargs, "date": "2025-06-28"}
    for key, prompt in [("training", False), ("completion", True)]:
        try:
            text = template.render(messages=messages, tools=tools, add_generation_prompt=prompt, **kwargs)
            out[key] = {"text": text, "tokens": encoding.encode(text, allowed_special="all")}
        except Exception as error:  # What the template says is the expectation.
            out[key] = {"error": f"{type(error).__name__}: {error}"}
    return out


def parsed(encoding, tokens, role, strict):
    try:
        messages = encoding.parse_messages_from_completion_tokens(tokens, role, strict=strict)
        return {"messages": [message_json(message) for message in messages]}
    except Exception as error:
        return {"error": str(error)}


def message_json(message):
    out = {"role": message.author.role.value, "content": "".join(part.text for part in message.content)}
    for key, value in [("name", message.author.name), ("channel", message.channel), ("recipient", message.recipient), ("content_type", message.content_type)]:
        if value is not None:
            out[key] = value
    return out


def stream(encoding, tokens, role, strict):
    parser = harmony.StreamableParser(encoding, role, strict=strict)
    out = {"states": "", "deltas": [], "headers": [], "message_done_at": [], "error": None}
    letters = {"ExpectStart": "E", "Header": "H", "Content": "C"}
    header, n_done = None, 0
    for at, token in enumerate(tokens):
        try:
            parser.process(token)
        except Exception as error:
            out["error"] = {"at": at, "error": str(error), "state_after": parser.state_data["state"]}
            break
        out["states"] += letters[parser.state_data["state"]]
        out["deltas"].append(parser.last_content_delta)
        role_now = parser.current_role
        new = [role_now and role_now.value, parser.current_channel, parser.current_recipient, parser.current_content_type]
        if new != header:
            out["headers"].append([at] + new)
            header = new
        if len(parser.messages) > n_done:
            out["message_done_at"].append(at)
            n_done = len(parser.messages)
    out["messages_before_eos"] = [message_json(message) for message in parser.messages]
    out["current_content"] = parser.current_content
    if out["error"] is None:
        try:
            parser.process_eos()
            out["messages_after_eos"] = [message_json(message) for message in parser.messages]
        except Exception as error:
            out["eos_error"] = str(error)
    return out


def turn(maker):
    """A turn of the model that follows the format."""
    plain = lambda: maker.text(3).replace("<|", "")
    call = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
    early = " to=browser.open<|channel|>analysis<|message|>{}<|call|>"
    ends = ["<|channel|>final<|message|>" + plain() + "<|return|>", "<|message|>" + plain() + "<|return|>", call, early]
    steps = ["<|channel|>analysis<|message|>" + plain(), "<|channel|>commentary<|message|>" + plain()]
    chosen = [maker.random.choice(steps) for _ in range(maker.random.randint(0, 3))]
    return "<|end|><|start|>assistant".join([*chosen, maker.random.choice(ends)])


def parse_case(encoding, maker, name):
    pieces = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>", "assistant", "user", "analysis", "final", "commentary", " to=functions.f", " json", "hello ", "漢😀", "\n", "functions.f", " ", "{}"]
    shapes = ["<|channel|>final<|message|>hi<|return|>", "<|end|><|start|>assistant", "<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"]
    chosen = [maker.random.choice(shapes if maker.maybe(0.4) else pieces) for _ in range(maker.random.randint(0, 12))]
    follows = maker.maybe(0.4)
    tokens = encoding.encode(turn(maker) if follows else "".join(chosen), allowed_special="all")
    if not follows and maker.maybe(0.3):
        for _ in range(maker.random.randint(1, 4)):
            tokens.insert(maker.random.randint(0, len(tokens)), maker.random.choice([172, 157, 240, 159, 152, 128, 201089]))
    role = Role.ASSISTANT if follows or maker.maybe() else None
    try:
        text = encoding.decode(tokens)
    except Exception:
        text = None
    return {
        "id": name,
        "covers": ["random"],
        "role": role and role.value,
        "tokens": tokens,
        "text": text,
        "strict": parsed(encoding, tokens, role, True),
        "lenient": parsed(encoding, tokens, role, False),
        "stream": stream(encoding, tokens, role, True),
        "stream_lenient": stream(encoding, tokens, role, False),
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--template", required=True)
    arguments.add_argument("--out", required=True, type=pathlib.Path)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=300)
    args = arguments.parse_args()
    encoding = harmony.load_harmony_encoding(harmony.HarmonyEncodingName.HARMONY_GPT_OSS)
    maker = Maker(args.seed)
    template = template_of(args.template)
    directory = args.out / "harmony"
    directory.mkdir(parents=True, exist_ok=True)
    strings = [maker.text(20) for _ in range(args.count)]
    tokens = {
        "format": "random",
        "strings": [{"text": text, "ordinary": encoding.encode(text)} for text in strings],
        "long": [],
        "decode": [],
        "special_tokens": [[200006, "<|start|>"], [200007, "<|end|>"]],
        "stop_tokens": [200002, 200007, 200012],
        "stop_tokens_for_assistant_actions": [200002, 200012],
    }
    files = {
        "conversations.json": {
            "format": "random",
            "conversations": [conversation_case(encoding, maker, f"random_{i}") for i in range(args.count)],
            "errors": [],
        },
        "template.json": {
            "format": "random",
            "template_sha256": "",
            "cases": [template_case(encoding, maker, template, f"random_{i}") for i in range(args.count)],
            "template_only": [],
            "not_expressible": [],
        },
        "parse.json": {"format": "random", "cases": [parse_case(encoding, maker, f"random_{i}") for i in range(args.count)]},
        "tokens.json": tokens,
    }
    for name, value in files.items():
        (directory / name).write_text(json.dumps(value), encoding="utf-8")


if __name__ == "__main__":
    main()
