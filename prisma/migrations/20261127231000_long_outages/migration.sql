-- The outages of ten minutes and more. The feed of changes goes back further by as long: else webhooks would lose their place in it
-- because nobody ran.
CREATE TABLE long_outages (
  away_from timestamptz(3) NOT NULL,
  back_at   timestamptz(3) PRIMARY KEY
);
INSERT INTO long_outages (away_from, back_at)
SELECT away_from, back_at FROM outage WHERE back_at >= away_from + interval '10 minutes';
