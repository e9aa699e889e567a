-- The tables of the engine that this package replaces, as its cloud function reads them: no workflows, a type and its settings.
CREATE TABLE "Tasks" (
    task_id VARCHAR(100) PRIMARY KEY,
    task_type VARCHAR(50) NOT NULL,
    description TEXT,
    extra_config TEXT,
    project VARCHAR(100),
    workspace VARCHAR(100),
    dataset VARCHAR(100),
    active INTEGER DEFAULT 1,
    created_by VARCHAR(100)
);
CREATE TABLE "TaskDependencies" (
    child_id VARCHAR(100) NOT NULL,
    parent_id VARCHAR(100) NOT NULL,
    PRIMARY KEY (child_id, parent_id)
);
INSERT INTO "Tasks" (task_id, task_type, description, extra_config, project, workspace, dataset, active, created_by) VALUES
    ('sales_load', 'LoadTableFromFile', 'Orders of the day',
     '{"bucket": "landing", "file": "orders/*.csv", "table": "demo-project.raw.orders"}', NULL, NULL, NULL, 1, 'ann'),
    ('sales_stg', 'DataformExecution', NULL,
     '{"location": "europe-west3", "repository": "sales", "branch": "main"}', 'demo-project', NULL, NULL, 1, 'ann'),
    ('sales_customers', 'DataformExecution', NULL,
     '{"location": "europe-west3", "repository": "sales", "branch": "main", "tags": ["customers"]}', 'demo-project', NULL, NULL, 0, 'ann'),
    ('sales_report', 'PowerBIRefresh', NULL, NULL, NULL, 'Sales', 'Daily Sales', 1, 'bob'),
    ('sales_move', 'MoveFileToArchive', NULL,
     '{"bucket": "landing", "file": "orders/today.csv", "archive_folder": "archive/"}', NULL, NULL, NULL, 1, 'bob'),
    ('calendar', 'Dataform', NULL, '{"location": "europe-west3", "repository": "calendar", "branch": "main"}',
     'demo-project', NULL, NULL, 1, 'bob'),
    ('count_stock', 'CallTheWarehouse', NULL, NULL, NULL, NULL, NULL, 1, 'bob');
INSERT INTO "TaskDependencies" (child_id, parent_id) VALUES
    ('sales_stg', 'sales_load'),
    ('sales_customers', 'sales_load'),
    ('sales_report', 'sales_stg'),
    ('sales_report', 'sales_customers'),
    ('sales_move', 'sales_load'),
    ('sales_report', 'retired_task');
