"""Grammar of the synthetic smart-home commands: intents and their wordings."""

from __future__ import annotations

import re
from functools import lru_cache

from mmcl.data.speech.fluent_speech_commands import IntentSlots

#: Action, object and optional locations, followed by indented wordings. "(a|b)" means a or b, "{}" is the location.
#: A smaller number of intents selects the first ones.
GRAMMAR = """
activate, music
    (play|start|put on) (some|the) music(| please)
    play (me|us) a song
deactivate, music
    (stop|end|pause) the (music|song)(| please)
    no more music(| please)
increase, volume
    (turn|make) it louder(| please)
    (raise|increase) the (volume|sound)
    a (bit|little) louder(| please)
decrease, volume
    (turn|make) it quieter(| please)
    (lower|reduce) the (volume|sound)
    a (bit|little) quieter(| please)
activate, oven
    (heat|preheat|start) the oven(| now| please)
    i want to bake (a cake|bread)
deactivate, oven
    (turn|switch) off the oven(| now| please)
    the (cake|bread) is (done|ready)
activate, alarm
    wake me (|up )at (six|seven|eight)
    set (an|the) alarm for (six|seven|eight)
deactivate, alarm
    (cancel|delete) (my|the) alarm(| please)
    let me sleep (in|longer)(| tomorrow)
lock, door
    (lock|bolt|secure) the (|front |back )door(| please)
unlock, door
    (open|unlock) the (|front |back )door
    let (him|her|them|our guests) in(| please)
activate, vacuum
    (start|send) the (cleaner|robot)(| please)
    (clean|sweep) the (floor|carpet)(| please)
activate, lights, kitchen, bedroom, bathroom, living room
    (turn|switch) on the light(|s) in the {}
    lights on in the {}(| please)
    it is (too|so) dark in the {}
    (more|some) light in the {}(| please)
deactivate, lights, kitchen, bedroom, bathroom, living room
    (turn|switch) off the light(|s) in the {}
    lights (off|out) in the {}(| please)
    it is (too|so) bright in the {}
    make the {} dark(| please)
increase, heat, kitchen, bedroom, bathroom
    (turn up|raise) the heating in the {}(| please)
    it is (too|so) cold in the {}
    make the {} warmer(| please)
    warm up the {}(| please)
decrease, heat, kitchen, bedroom, bathroom
    (turn down|lower) the heating in the {}(| please)
    it is (too|so) hot in the {}
    make the {} cooler(| please)
    cool down the {}(| please)
open, blinds, kitchen, bedroom, bathroom
    open the blinds in the {}(| please)
    (open|raise|pull up) the {} blinds(| please)
    let the (sun|daylight) into the {}
close, blinds, kitchen, bedroom, bathroom
    close the blinds in the {}(| please)
    (close|lower|pull down) the {} blinds(| please)
    keep the (sun|daylight) out of the {}
activate, fan
    (start|turn on|switch on) the fan(| please)
    (i want|give me) some fresh air(| please)
deactivate, fan
    (stop|turn off|switch off) the fan(| please)
    no more (wind|draught)(| please)
activate, television
    (turn|switch) on the (television|screen)(| please)
    (i want|let me) (see|watch) the news
deactivate, television
    (turn|switch) off the (television|screen)(| please)
    i have seen enough (news|films)
activate, kettle
    (boil|heat) (some|the) water(| please)
    i want a cup of (tea|coffee)(| please)
report, weather
    what is the weather like(| today| tomorrow)
    (will it|is it going to) (rain|snow)(| today| tomorrow)
"""


@lru_cache(maxsize=1)
def grammar() -> dict[IntentSlots, tuple[str, ...]]:
    """Parse :data:`GRAMMAR` into the wordings of each intent.

    >>> grammar()["activate", "lights", "kitchen"][:2]
    ('turn on the light in the kitchen', 'turn on the lights in the kitchen')
    """
    intents: dict[IntentSlots, tuple[str, ...]] = {}
    for block in re.findall(r"^\w.*(?:\n .*)+", GRAMMAR, re.MULTILINE):
        head, *patterns = block.split("\n")
        action, thing, *locations = head.split(", ")
        for location in locations or ["none"]:
            wordings = [text for pattern in patterns for text in _expand(pattern.replace("{}", location))]
            intents[action, thing, location] = tuple(wordings)
    return intents


def _expand(pattern: str) -> list[str]:
    choice = re.search(r"\(([^()]*)\)", pattern)
    if choice is None:
        return [" ".join(pattern.split())]
    start, end = pattern[: choice.start()], pattern[choice.end() :]
    return [text for option in choice[1].split("|") for text in _expand(f"{start}{option}{end}")]
