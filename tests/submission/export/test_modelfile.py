from typing import Any

import pytest

from core.encoding.rendering import CHATML
from harness.base_model import load_tokenizer
from submission.errors import ExportError
from submission.export.modelfile import ALPACA, chat_template, modelfile
from tests.conftest import DEMO_BASE

QWEN = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n{% endif %}" + CHATML
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set loop_messages = messages %}{% set system = '' %}{% endif %}"
    "{% for m in loop_messages %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
NO_SYSTEM = CHATML.replace(
    "{% for message in messages %}",
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for message in messages %}",
)
COUNTS = "{% for m in messages %}{{ loop.index ~ '/' ~ messages|length ~ ': ' + m['content'] + '</s>' }}{% endfor %}"
THINKS = CHATML.replace("'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>assistant\n<think>\n' }}{% endif")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(DEMO_BASE)


@pytest.mark.parametrize("template", [CHATML, QWEN, LLAMA_2, NO_SYSTEM, THINKS])
def test_a_conversation_is_rendered_as_by_the_jinja_template(tokenizer: Any, template: str) -> None:
    found, _ = chat_template(tokenizer, template=template)
    turns = [("user", "Hello, {{ you }}."), ("assistant", "Hi."), ("user", "Bye.")]
    with_system = [("system", "Be brief."), *turns]
    for conversation in (turns, turns[:1], *([] if template == NO_SYSTEM else [with_system, with_system[:2]])):
        wanted = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in conversation],
            chat_template=template, tokenize=False, add_generation_prompt=True,
        )  # fmt: skip
        assert found.render(conversation) == wanted.removeprefix("<s>")  # Ollama adds BOS by itself


def test_the_go_template_holds_the_texts_between_the_contents(tokenizer: Any) -> None:
    found, stop = chat_template(tokenizer, template=CHATML)
    assert stop == "<|im_end|>"
    go = found.go()
    assert '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}' in go
    assert "{{ if eq $i 0 }}<|im_start|>user\n" in go
    assert "{{ else if and (eq $i 1) $.System }}<|im_end|>\n<|im_start|>user\n" in go
    assert "{{ .Content }}{{ if $last }}<|im_end|>\n<|im_start|>assistant\n{{ else }}" in go


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (COUNTS, "depends on the number of messages"),
        ("{{ messages[0]['content'] }}", "leaves a message out"),
        ("{{ missing.field }}", "cannot show it"),
        (CHATML.replace("'<|im_end|>\n'", "'{{x\n'"), "it holds"),
    ],
)
def test_a_template_that_go_cannot_render_is_refused(tokenizer: Any, template: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        chat_template(tokenizer, template=template)


def test_a_modelfile_names_the_file_the_template_and_the_stop() -> None:
    assert modelfile("x-f16.gguf", "{{ .Prompt }}", stop="</s>") == (
        'FROM ./x-f16.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER stop "</s>"\n'
    )
    assert "### Instruction:\n{{ .Prompt }}\n\n{{ end }}### Response:\n" in ALPACA
