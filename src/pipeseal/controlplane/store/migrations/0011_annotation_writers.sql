-- Which job wrote an annotation last; empty where that was no job, or is not known any more.
ALTER TABLE annotations ADD COLUMN writer TEXT NOT NULL DEFAULT '';
UPDATE annotations SET writer = owner;
