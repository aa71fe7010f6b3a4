-- What people ask. The name in braces stands for every sealed row of that view, each once; hide(), hide_change() and
-- hide_reasons() leave a value as it is, or, for a viewer who may not see patients, put *** in its place.

-- One row for each instance received (and again for each time it was received).
CREATE TEMP VIEW instances AS
SELECT id, "at", node, replayed, batch, index, sop_instance_uid, sop_class_uid, transfer_syntax_uid, study_instance_uid,
       series_instance_uid, hide(patient_id) AS patient_id, hide(patient_name) AS patient_name,
       hide(accession_number) AS accession_number, modality, study_date, study_description, series_description,
       station_name, manufacturer, institution_name, body_part_examined, source, source_kind, calling_ae, called_ae,
       source_ip, user, tls_subject, received_at, routed_at, bytes, revision, outcome, duplicate, hide(held_reason) AS held_reason,
       hide(header) AS header, day
FROM {instances};

-- One row for each instance and rule that spoke of it, with the parts of its condition that decided.
CREATE TEMP VIEW decisions AS
SELECT id, "at", node, replayed, batch, index, sop_instance_uid, ruleset, rule, state, matched,
       hide_reasons(reasons) AS reasons, destinations, revision, day
FROM {decisions};

-- One row for each tag changed; state `shadow`: what a rule on trial would have changed.
CREATE TEMP VIEW changes AS
SELECT id, "at", node, replayed, batch, index, sop_instance_uid, ruleset, rule, state, path, tag, vr,
       hide_change(morph, tag, vr, carries, "before") AS "before",
       hide_change(morph, tag, vr, carries, "after") AS "after", morph, carries, day
FROM {changes};

-- One row for each instance and attempt; index -1 tells of a whole delivery (the peer could not be reached).
CREATE TEMP VIEW deliveries AS
SELECT id, "at", node, replayed, delivery, batch, branch, destination, destination_kind, attempt, index, sop_instance_uid,
       outcome, code, words, hide(location) AS location, seconds, bytes, day
FROM {deliveries};

-- One row for each search that a polling source made.
CREATE TEMP VIEW queries AS
SELECT id, "at", node, replayed, source, level, found, queued, processed, failed, hide(words) AS words, day
FROM {queries};

-- One row for each thing that a person did.
CREATE TEMP VIEW audit AS
SELECT id, "at", node, replayed, who, action, family, name, detail, revision, address, day
FROM {audit};
