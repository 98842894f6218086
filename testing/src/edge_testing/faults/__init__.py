"""The campaign of faults: a real platform runs tasks while its parts are killed, stopped, cut off and starved.

`make faults SEEDS=1-20`. One seed is one `plan`; `run` carries it out on the `site`; `facts` are read from outside at
its end; `rules` say what holds whatever was broken; `results` has one line per seed.
"""
