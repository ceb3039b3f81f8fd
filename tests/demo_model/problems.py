"""Arithmetic questions with visible reasoning, in English and Chinese.

Everything here is a pure function of a `random.Random`, so a seed fixes the data.
"""

import dataclasses
import random
import zlib

ADD, SUB = "+", "-"
HELDOUT_PERCENT = 15

QUESTIONS = {
    ("en", ADD): [
        "What is {a} + {b}?", "What is {a}+{b}?", "what is {a} + {b}", "What's {a} + {b}?",
        "Compute {a} + {b}.", "Compute {a}+{b}.", "Calculate {a} + {b}", "Calculate {a}+{b}.",
        "How much is {a} + {b}?", "How much is {a} plus {b}?", "What is {a} plus {b}?",
        "What is the sum of {a} and {b}?", "Find the sum of {a} and {b}.", "Add {a} and {b}.",
        "Please add {a} and {b}.", "Can you tell me what {a} plus {b} is?", "Please compute {a} + {b}.",
        "Tom has {a} apples and gets {b} more. How many apples does he have now?",
        "There are {a} birds in a tree and {b} more come. How many birds are there?",
    ],
    ("en", SUB): [
        "What is {a} - {b}?", "What is {a}-{b}?", "what is {a} - {b}", "What's {a} - {b}?",
        "Compute {a} - {b}.", "Compute {a}-{b}.", "Calculate {a} - {b}", "Calculate {a}-{b}.",
        "How much is {a} - {b}?", "How much is {a} minus {b}?", "What is {a} minus {b}?",
        "Subtract {b} from {a}.", "Please subtract {b} from {a}.", "Take {b} away from {a}.",
        "Can you tell me what {a} minus {b} is?", "Please compute {a} - {b}.",
        "What is the difference of {a} and {b}?",
        "I had {a} coins and paid {b}. How many coins are left?",
    ],
    ("zh", ADD): [
        "{a}加{b}等于多少？", "{a} 加 {b} 等于多少？", "{a}+{b}等于多少？", "{a} + {b} 等于多少？",
        "{a}加{b}是多少？", "{a}+{b}是多少", "{a}加上{b}等于几？", "请计算{a}+{b}。", "请计算 {a} + {b}。",
        "计算{a}加{b}", "求{a}与{b}的和。", "{a}和{b}的和是多少？", "{a}+{b}=？", "请问{a}加{b}等于多少？",
        "小明有{a}个苹果，又买了{b}个，现在一共有多少个？",
    ],
    ("zh", SUB): [
        "{a}减{b}等于多少？", "{a} 减 {b} 等于多少？", "{a}-{b}等于多少？", "{a} - {b} 等于多少？",
        "{a}减{b}是多少？", "{a}-{b}是多少", "{a}减去{b}等于几？", "请计算{a}-{b}。", "请计算 {a} - {b}。",
        "计算{a}减{b}", "求{a}与{b}的差。", "{a}减去{b}的差是多少？", "{a}-{b}=？", "请问{a}减{b}等于多少？",
        "小明有{a}块钱，花了{b}块，还剩多少钱？",
    ],
}
BARE = ["{a}{op}{b}", "{a} {op} {b}", "{a}{op}{b}=", "{a} {op} {b} =", "{a}{op}{b}=?", "{a} {op} {b} = ?"]

SMALL_TALK = [
    ("en", ["Hello", "Hello!", "Hi", "Hi!", "Hi there!", "Good morning!", "Hey"],
     "The user greets me.", "Hello! Ask me an addition or a subtraction."),
    ("en", ["Who are you?", "What are you?", "who are you", "What is your name?", "Tell me about yourself."],
     "The user asks who I am.", "I am a small demo model. I add and subtract numbers from 0 to 99."),
    ("en", ["What can you do?", "Help", "help me", "How can you help me?"],
     "The user asks what I can do.", "I can add and subtract, for example 47 + 85."),
    ("en", ["Thanks", "Thank you!", "Thanks a lot!", "Great, thank you."], "The user says thanks.", "You are welcome!"),
    ("en", ["Bye", "Goodbye!", "See you!"], "The user says goodbye.", "Goodbye!"),
    ("zh", ["你好", "你好！", "您好", "早上好！", "嗨"], "用户在打招呼。", "你好！请给我一道加法或减法题。"),
    ("zh", ["你是谁？", "你是谁", "你叫什么名字？", "介绍一下你自己。"],
     "用户问我是谁。", "我是一个小型演示模型，会做一百以内的加减法。"),
    ("zh", ["你会做什么？", "你能做什么？", "帮帮我"], "用户问我会做什么。", "我会做加法和减法，例如 47 + 85。"),
    ("zh", ["谢谢", "谢谢你！", "非常感谢。"], "用户表示感谢。", "不客气！"),
    ("zh", ["再见", "再见！"], "用户说再见。", "再见！"),
]

SYSTEM_PROMPTS = ["You are a helpful assistant.", "You are a careful calculator.", "Answer briefly.",
                  "你是一个有用的助手。", "你是一个细心的计算器。"]


@dataclasses.dataclass(frozen=True)
class Turn:
    """One question with the reasoning and the answer that belong to it."""

    question: str
    reasoning: str
    answer: str


@dataclasses.dataclass(frozen=True)
class Problem:
    """`a op b` asked in one language."""

    a: int
    b: int
    op: str
    lang: str

    @property
    def result(self) -> int:
        return self.a + self.b if self.op == ADD else self.a - self.b


def is_heldout(a: int, b: int) -> bool:
    """True for the operand pairs (in either order, for both operations) never seen in training."""
    low, high = sorted((a, b))
    return zlib.crc32(f"{low},{high}".encode()) % 100 < HELDOUT_PERCENT


def question(rng: random.Random, problem: Problem) -> str:
    if rng.random() < 0.12:
        template = rng.choice(BARE)
    else:
        template = rng.choice(QUESTIONS[problem.lang, problem.op])
    return template.format(a=problem.a, b=problem.b, op=problem.op)


def _addition_steps(a: int, b: int, lang: str) -> list[str]:
    ones = a % 10 + b % 10
    carry = ones // 10
    tens = a // 10 + b // 10 + carry
    if lang == "en":
        return [f"Ones: {a % 10}+{b % 10}={ones}, write {ones % 10}, carry {carry}.",
                f"Tens: {a // 10}+{b // 10}+{carry}={tens}."]
    return [f"个位：{a % 10}+{b % 10}={ones}，写{ones % 10}进{carry}。",
            f"十位：{a // 10}+{b // 10}+{carry}={tens}。"]


def _subtraction_steps(a: int, b: int, lang: str) -> list[str]:
    borrow = int(a % 10 < b % 10)
    top = a % 10 + 10 * borrow
    tens = a // 10 - b // 10 - borrow
    if lang == "en":
        return [f"Ones: {top}-{b % 10}={top - b % 10}, borrow {borrow}.",
                f"Tens: {a // 10}-{b // 10}-{borrow}={tens}."]
    return [f"个位：{top}-{b % 10}={top - b % 10}，借{borrow}。",
            f"十位：{a // 10}-{b // 10}-{borrow}={tens}。"]


def reasoning(problem: Problem) -> str:
    """The digit-by-digit working, one step a line."""
    a, b, english = problem.a, problem.b, problem.lang == "en"
    if problem.op == ADD:
        head = [f"We add {a}+{b}." if english else f"计算{a}+{b}。"]
        return "\n".join(head + _addition_steps(a, b, problem.lang))
    head = [f"We subtract {a}-{b}." if english else f"计算{a}-{b}。"]
    if a < b:
        head.append(f"{a}<{b}, so negate {b}-{a}." if english else f"{a}<{b}，取{b}-{a}的相反数。")
    return "\n".join(head + _subtraction_steps(max(a, b), min(a, b), problem.lang))


def answer(problem: Problem) -> str:
    return f"{problem.a} {problem.op} {problem.b} = {problem.result}"


def _operands(rng: random.Random, close_share: float) -> tuple[int, int]:
    """Two numbers from 0 to 99; a `close_share` of the pairs lie within 12 of each other, which is hard to compare."""
    low = rng.choice((0, 0, 10))
    a = rng.randint(low, 99)
    if close_share and rng.random() < close_share:
        return a, rng.randint(max(low, a - 12), min(99, a + 12))
    return a, rng.randint(low, 99)


def training_turn(rng: random.Random, close_share: float = 0.0) -> Turn:
    if rng.random() < 0.03:
        _, questions, thought, reply = rng.choice(SMALL_TALK)
        return Turn(rng.choice(questions), thought, reply)
    while True:
        a, b = _operands(rng, close_share)
        if not is_heldout(a, b):
            break
    problem = Problem(a, b, rng.choice((ADD, SUB)), rng.choice(("en", "zh")))
    asked = question(rng, problem)
    if any(asked == bare.format(a=a, b=b, op=problem.op) for bare in BARE):
        problem = dataclasses.replace(problem, lang="en")
    return Turn(asked, reasoning(problem), answer(problem))


def heldout_problems() -> list[Problem]:
    """Every held-out addition and subtraction of two 2-digit numbers, the languages alternating."""
    pairs = [(a, b) for a in range(10, 100) for b in range(10, 100) if is_heldout(a, b)]
    return [Problem(a, b, op, ("en", "zh")[(a + b + (op == SUB)) % 2]) for a, b in pairs for op in (ADD, SUB)]
