"""One thread per blocking device. Each owns its library, obeys wishes and jobs, and reports back with events.

| thread | why |
|---|---|
| meter N | Modbus blocks up to 2 s; reads once a second, and the billing readings on order |
| evse N | RAPI blocks; enforces the contactor wish twice a second |
| reader | PC/SC blocks for as long as no card comes; contexts belong to one thread |
| authorizing | the bank may take 15 s; a driver waits |
| settling | captures and releases in the background, one at a time, never before a driver |
| signer | a key in a chip may take half a second |
| printer | paper takes seconds, and a printer may hang; only with a printer |
| health | looks at disk and clock every ten seconds |
"""
