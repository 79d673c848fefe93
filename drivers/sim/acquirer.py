"""An acquirer host with an issuer behind it: ISO 8583-1:1987 over TCP, with durable books of its own.

THE WIRE (what a gateway must speak)
------------------------------------
A message is a 2-byte big-endian length (of what follows, the length itself not counted), then: MTI as 4 ASCII
characters, primary bitmap as 8 binary bytes, secondary bitmap as 8 binary bytes when bit 1 of the primary is set, then
the fields in rising order. Numbers and texts are ASCII, variable fields carry their length as ASCII digits (LL, LLL).
DE55 alone is binary: LLL in ASCII digits, then that many raw BER-TLV bytes. In terms of pyiso8583:
`default_ascii` with `h.max_len = 0`, `p.data_enc = 1.data_enc = 'b'` (max_len 8) and
`55 = {data_enc 'b', len_enc 'ascii', len_type 3, max_len 255}`. No header, no trailer. Several messages may follow one
another on one connection; answers may come in another order when a fault delays one (match by DE11 + DE37 + DE41).

| DE | format     | 0100 authorize            | 0220 capture               | 0400/0401 reverse          |
|----|------------|---------------------------|----------------------------|----------------------------|
| 3  | n6         | 000000                    | 000000                     | 000000                     |
| 4  | n12        | hold, minor units         | final amount, minor units  | amount held (or asked for) |
| 7  | n10        | MMDDhhmmss UTC, of this message (a repeat keeps it)                                 |
| 11 | n6         | STAN                      | new STAN (repeat keeps it) | new STAN (repeat keeps it) |
| 12 | n6         | hhmmss local              | hhmmss local               | optional                   |
| 13 | n4         | MMDD local                | MMDD local                 | optional                   |
| 18 | n4         | 5552                      | -                          | -                          |
| 22 | n3         | 071 (contactless chip), 051 (contact chip)             | -                          |
| 23 | n3         | PAN sequence (5F34), when the card has one             | -                          |
| 25 | n2         | 00                        | 06                         | 00, optional               |
| 35 | z..37 LL   | track 2 equivalent (57), `=` or `D` as separator, no F | -                          |
| 37 | an12       | RRN, chosen by terminal   | RRN of the original        | RRN of the original        |
| 38 | an6        | -                         | auth code of the original  | auth code, if known        |
| 41 | ans8       | terminal id               | terminal id                | terminal id                |
| 42 | ans15      | merchant id               | merchant id                | merchant id                |
| 49 | n3         | currency, ISO 4217 number | currency                   | currency                   |
| 55 | b..255 LLL | EMV data (below)          | -                          | -                          |
| 90 | n42        | -                         | original data elements     | original data elements     |

DE90 is: MTI of the original (`0100`) + its STAN (6) + its DE7 (10) + 22 zeros. Follow-ups carry no card number:
DE2 and DE35 in a 0220 or 0400 are a format error. MTIs taken: 0100, 0220 and repeat 0221, 0400, 0420 and repeats 0401,
0421, 0800 (DE7, DE11, DE70 = 001 sign on, 301 echo). The answers are 0110, 0230, 0410, 0430, 0810.

DE55 of 0100 must hold: 9F26 9F27 9F10 9F37 9F36 95 9A 9C 9F02 5F2A 82 9F1A 84; 9F03 counts as zero when absent. PAN and
track data (57, 5A) must not be in it. 9F02 must equal DE4 and 5F2A must equal DE49, or the answer is 30.

An answer echoes 3, 4, 7, 11, 12, 13, 37, 41, 42, 49 as far as they were sent, and adds DE39, on approval of a 0100 also
DE38 (six letters or digits) and, as chip cards get it back, DE55 = 91 0A ARPC(8) ARC(2) (EMV book 2, ARPC method 1). A
0100 without DE37 gets one. DE39 of a 0100:
00 approved; 10 approved for less: DE4 of the ANSWER is what is held; 05 not approved, also a wrong cryptogram or an ATC
used before; 12 the reversal was here first; 14 no such card; 30 format error, also a field that is missing;
51 above the limit; 54 expired card; 57 cryptogram is not an ARQC; 94 STAN + RRN used already by another request.
A 0100 that comes twice (same DE41, 37, 11, 7) is answered as the first time and held once.

0220: 00 captured; the same message again (DE41, 37, 11): 00 and nothing more is captured; 12 held no longer (reversed
or declined), or captured already by another message with another amount; 94 captured already by another message with
the same amount; 13 more than is held, or zero; 25 no such authorization (DE41, DE37 and DE90 are compared; DE38 too).
0400: 00 reversed, reversed before, declined before (nothing is held), or not known: then it is remembered, and the
original that comes later gets 12 and holds nothing; 12 captured already, the reversal comes too late.

THE BOOKS (`--books FILE`, SQLite, WAL, synchronous FULL; committed before the answer leaves)
------------------------------------------------------------------------------------------
`authorizations`: id, terminal, merchant, stan, rrn, transmitted_at (DE7), auth_code, amount_minor (held),
requested_minor, currency (ISO 4217 number as text), pan_last4, aid, atc, arqc_ok (1, 0), response (DE39 sent), state
('authorized' | 'captured' | 'reversed' | 'declined'), captured_minor, created_at, changed_at (UTC, ISO 8601).
`captures`: id, authorization_id, terminal, stan, rrn, amount_minor, response, at.
`reversals`: id, authorization_id or NULL while the original is not known, terminal, original_stan, original_rrn,
original_transmitted_at, response, at.
`messages`: id, at, direction ('in' | 'out'), mti, stan, rrn, terminal, amount_minor, response. Never a PAN.
`cards`: card_key (SHA-256 of a secret of these books and PAN + sequence), last_atc.
A table that is empty has seen nothing: there is no in-memory truth beside these.
"""
