"""Who obeys the rules: one inbox, one thread, one turn at a time; and the three sockets of the core."""
