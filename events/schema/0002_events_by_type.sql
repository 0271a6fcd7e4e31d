-- For the audit log: the events of one type, in order. InnoDB appends the position to the index.
-- MySQL has no CREATE INDEX IF NOT EXISTS, and a migration must bear to be repeated.
SET @make_by_type = IF(
    EXISTS (
        SELECT 1 FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'events' AND index_name = 'by_type'
    ),
    'DO 0',
    'CREATE INDEX by_type ON events (type)'
);

PREPARE make_by_type FROM @make_by_type;

EXECUTE make_by_type;

DEALLOCATE PREPARE make_by_type;
