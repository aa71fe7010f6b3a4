"""DICOM over TCP (PS3.7, PS3.8), small: PDUs, negotiation, command sets; what the listener and the sender share.

Read in this order: `pdu` (bytes of the association PDUs), `wire` (one connection), `messages` (DIMSE messages on it),
`negotiation` (what an acceptor answers), `store_scp` (receiving), `store_scu` (sending), `status` (the words for it).
"""
