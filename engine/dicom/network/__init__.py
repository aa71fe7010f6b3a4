"""DICOM over TCP (PS3.7, PS3.8), small: PDUs, negotiation, command sets; what the listener and the sender share.

Read in this order: `pdu` (bytes of the association PDUs), `wire` (one connection), `messages` (DIMSE messages on it),
`negotiation` (what an acceptor answers), `requestor` (an association that we ask for), `store_scp` (receiving),
`store_scu` (sending), `query_scu` (asking), `retrieve_scu` (fetching), with `models` and `identifier` (what is asked),
`status` (the words for it).
"""
