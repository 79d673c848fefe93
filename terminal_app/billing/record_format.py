"""The billing record, version 1: what third parties and later versions rely on.

This page is printed by: python -m terminal_app.billing.record_format

Envelope
    A compact JWS (RFC 7515), ES256 (P-256, SHA-256, signature as raw r||s). Header: alg, kid (RFC 7638 thumbprint), typ
    "billing-record+jws". Payload: JSON in the canonical form of RFC 8785. The string is stored and passed on as signed.
Chain
    Identity of a record: (terminal, chain_id, seq). seq is gapless from 1 in a chain; prev is the SHA-256 (hex) of the compact
    JWS before it, 64 zeros for the first. A cut tail cannot be seen in a chain: for that the office countersigns its head.
Numbers
    Money: integers in minor units of the currency (ISO 4217). Energy: Wh. Time: ms; moments are UTC ms since 1970 with clock
    "S" synchronised, "I" informative, "U" unknown. Prices and rates: decimal texts. No floats.

Every record
    v                       1
    type                    session, settlement, credit, key-change or checkpoint
    terminal, chain_id, seq, prev
    created                 when it was sealed: utc_ms, clock
    software                version that sealed it
    demo                    true: no real charge, no real money

session: a finished charge, priced
    session_id, connector, evse_id
    outlet                  max_power_w, current ("AC", "DC"); not in records of the first terminals
    authorization_reference the hold it is paid from ("" = not paid: free)
    seller                  name, address, vat_id
    site                    station, country, time_zone (IANA: prices by the clock follow it)
    begin, end              moments of the start and stop register
    charging_ms, parking_ms monotonic durations; parking: the car had stopped asking
    meter                   vendor, model, serial, firmware, obis, resolution_wh, profile_sha256; wraps_at_wh (rolls over there)
    register                start_wh, stop_wh, stop_source ("meter": two agreeing readings; "checkpoint": last committed value);
                            stop_why of a checkpoint: "not_back" (meter_return_s is over), "hold_ends" (half the time until the
                            capture is over), "changed" (another register answers). Across a roll-over stop_wh counts on
    energy_wh               stop_wh - start_wh
    tariff                  id, fingerprint (SHA-256 of json), json (OCPI 2.3.0 Tariff, RFC 8785)
    periods                 start_utc_ms, energy_wh, charging_ms, parking_ms; min/max_power_w, min/max_current_ma if measured
    lines                   kind, amount, unit, quantity, price, per, vat_percent, net_minor, vat_minor, gross_minor, element,
                            stepped, late. amount x price = the line, rounded HALF_UP once; net + vat = gross. element: index in
                            the tariff (-1: price limit); stepped: added by step_size; late: no reading was taken where the price
                            changed, the cheaper side counts
    totals                  currency, net_minor, vat_minor, total_minor: sums of the lines
    payment                 null or gateway, hold_id, authorized_minor, capture_minor, shortfall_minor, trace, card (null or brand,
                            last4, aid, label, entry, cvm; never more of a card)
    stop                    reason, interrupted; from, until: moments of the newest reading before an interruption and of its
                            being noticed
    receipt                 number (own series, gapless), code (unguessable, for the receipt page)
    ocmf                    record (verbatim), sha256, key (thumbprint of the OCMF key). If the meter itself signed: meter_key (its
                            SPKI, DER, hex; key is then its RFC 7638 thumbprint, or the base64url SHA-256 of the SPKI of another
                            curve than P-256), clock (worse OCMF sync letter); record may be two, begin and end, one per line
    not_billed              only if energy flowed and costs nothing: "below_minimum" = less than may be billed in that country for
                            a meter of this resolution_wh; then there are no lines
    unbilled                only if energy flowed that is not billed, because the meter's own record does not hold: why, energy_wh
    test                    true: a test by service personnel, never a sale (only in such records)
    limits                  changes of the current within the charge (only if there were any): utc_ms, limit_a in force from then
                            on (A; 0 = the charger paused), source ("service", "office": ordered; "grid": shared supply)
    limits_left_out         so many changes came before those (only if there were more than 500; each is a fact of the ledger)

settlement: the end of a hold
    session_id, authorization_reference, gateway
    how                     captured, voided, manual (a person must look), refunded, refused (a refund: the capture stands)
    amount_minor            what really moved
    authorized_minor, currency, trace, detail
    ended                   moment
    receipt                 number ("" unless it has one of its own). Of a hold that paid for nothing: number, code, seller,
                            site, connector, evse_id, asked_utc_ms, released (moment), reason, card

credit: takes a bill back, whole or in part; follows the settlement record (refunded) of the money that went back
    session_id, authorization_reference
    credits                 seq, sha256, receipt of the session record it credits
    number                  counts the credits of a bill from 1; all of them together never exceed it
    reason, actor           as ordered
    lines, totals           as in session, zero or negative. At once and whole: the bill's own lines. A part: one line of kind
                            "credit" per VAT rate, in proportion to what is left of each, VAT too; after the last part the sums
                            of net, VAT and gross are exactly those of the bill
    receipt                 number, its own, of the same gapless series as the bills

key-change: signed with the old key; the next record is signed with the new one, and no later one with the old
    new_key                 JWK (RFC 7517); the old one again if only the key of the readings changes
    new_key_id              its RFC 7638 thumbprint
    new_ocmf_key            JWK of the key that signs terminal-made readings from here on; absent: unchanged
    new_ocmf_key_id         its thumbprint, as `ocmf` of later session records names it
    reason, actor
    emergency               true: the old key was lost, the owner's offline key signed; not believed without the owner's own word

checkpoint: what the terminal knew of itself; after a key change, and once on a day on which a record was sealed
    at                      moment
    ledger                  entries, sha256 (head of the ledger's own chain); fewer than at an earlier checkpoint: rolled back
    acknowledged_through    last record the office had countersigned
    open_holds              how many were not settled
    meter_registers_wh      meter serial -> newest register
    digests                 name -> SHA-256: software (its files), configuration, "tariff of connector N", "meter profile NAME"

Versions
    A changed meaning gets a new v; readers refuse what they do not know. Frozen records of every version: tests/vectors.
    Verify: scripts/verify_records.py (needs only `cryptography`), or any JOSE library and an OCMF verifier.
"""

import sys


def main() -> int:
    """Print the page."""
    sys.stdout.write(__doc__ or "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
