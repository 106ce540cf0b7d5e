-- Refused jobs are few, and counted for every look at the metrics.
CREATE INDEX jobs_refused ON jobs (finished_at) WHERE refusal IS NOT NULL;
