"""Numbers for each closed bar, computed from that bar and those before it.

A *recipe* (:mod:`.recipes`) is a function on columns of bars with its parameters and its *lead*:
the number of bars before a bar that its value depends on. There are three kinds: *windowed* (the
lead is the window), *decaying* (what lies before the lead weighs less than 1e-9) and *anchored*
(everything since a named anchor).

Values are computed by *blocks* (:mod:`.blocks`): spans of UTC days that are fixed for each
timeframe. A block is always computed from the same bars, its own and its lead, so a value has the
same bits wherever a request begins or ends, for a batch as for a stream; and a corrected bar
changes its own block and those whose lead contains it.

:mod:`.features` reads the bars, joins longer timeframes and builds frames; a store in which blocks are
kept is passed in (:mod:`.kept`). Alerts watch the same recipes.
:mod:`.check` looks for look-ahead and other faults in a user's own function.
"""
