-- All values of a span in one row (store/sessions/sums.ts), so that an answer reads one row where it read one for each value.
ALTER TABLE session_sums ADD COLUMN all_values text[], ADD COLUMN all_counts integer[], ADD COLUMN all_durations bigint[];
ALTER TABLE event_sums ADD COLUMN all_values text[], ADD COLUMN all_counts integer[], ADD COLUMN all_durations bigint[];
