"""Chat templates follow the conventions of Hugging Face tokenizers, in a sandbox."""

import re

import pytest
from fake_device import write_package

from flightllm.errors import FlightError, PackageError
from flightllm.runtime.chat import ChatTemplate
from flightllm.runtime.tokenizer import Tokenizer

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi & <bye>"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "  More  "},
]

#: forms seen in published templates: ChatML, Llama-2's [INST], role checks, loop controls, namespaces
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "inst": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set sys = '<<SYS>>' + messages[0]['content'] + '<</SYS>>' %}{% else %}{% set loop_messages = messages %}{% endif %}\n"
        "{% for m in loop_messages %}\n    {% if m.role == 'user' %}\n{{ '[INST] ' + m.content.strip() + ' [/INST]' }}\n"
        "    {% else %}\n{{ m.content | trim + eos_token }}\n    {% endif %}\n{% endfor %}\n"
    ),
    "loop": (
        "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- if m.role == 'system' -%}{%- continue -%}{%- endif -%}"
        "{%- set ns.n = ns.n + 1 -%}{{ ns.n }}:{{ m | tojson }}{%- if ns.n == 2 -%}{%- break -%}{%- endif -%}{%- endfor -%}"
    ),
}


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@pytest.mark.parametrize("prompt", [True, False])
def test_same_text_as_transformers(name, prompt):
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    source = TEMPLATES[name]
    got = ChatTemplate(source, "<s>", "</s>").render(TALK, add_generation_prompt=prompt)
    compiled = utils._compile_jinja_template(source)
    want = compiled.render(messages=TALK, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
    assert got == want
    assert "Hi & <bye>" in got


def test_written_out():
    got = ChatTemplate(TEMPLATES["chatml"]).render(TALK[1:2])
    assert got == "<|im_start|>user\nHi & <bye><|im_end|>\n<|im_start|>assistant\n"


def test_strftime_now():
    assert re.fullmatch(r"20\d\d-\d\d", ChatTemplate("{{ strftime_now('%Y-%m') }}").render(TALK))


def test_further_variables():
    assert ChatTemplate("{{ tools or 'none' }}").render(TALK) == "none"
    assert ChatTemplate("{{ tools }}").render(TALK, tools="x") == "x"


def test_raise_exception_is_shown():
    t = ChatTemplate("{{ raise_exception('roles must alternate') }}", where="here.jinja")
    with pytest.raises(FlightError, match=r"refuses(.|\n)*here\.jinja(.|\n)*roles must alternate"):
        t.render(TALK)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].nothing.more }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",  # the classic way out of a sandbox
        "{{ messages.append(1) }}",  # immutable
        "{% include 'other' %}",
        "{{ messages + 1 }}",
    ],
)
def test_failing_templates_are_flight_errors(source):
    with pytest.raises(FlightError, match="fails on this conversation"):
        ChatTemplate(source).render(TALK)


@pytest.mark.parametrize("source", ["{% if %}", "{{ x | nofilter }}", "{% for x in y %}", "{{ '"])
def test_damaged_template(source):
    with pytest.raises(PackageError, match="cannot be read"):
        ChatTemplate(source)


def test_of_package(tmp_path):
    p = write_package(tmp_path / "a")
    t = ChatTemplate.of(p, Tokenizer.of(p))
    assert t.render(TALK[1:2]) == "<s>[user]Hi & <bye>\n[assistant]"
    with pytest.raises(PackageError, match="no chat template"):
        ChatTemplate.of(write_package(tmp_path / "b", chat=""), Tokenizer.of(p))
