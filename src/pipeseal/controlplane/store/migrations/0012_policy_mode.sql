-- The mode of an agent's policy, as it told with the end of its latest job; empty when it told nothing.
ALTER TABLE agents ADD COLUMN policy_mode TEXT NOT NULL DEFAULT '';
