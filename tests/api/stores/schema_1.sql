-- A store as the last version without revisions left it, one task running.
BEGIN TRANSACTION;
CREATE TABLE api_keys (
	public_key TEXT NOT NULL, 
	private_key TEXT NOT NULL, 
	label TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	PRIMARY KEY (public_key)
);
INSERT INTO "api_keys" VALUES('public','private','a label',1764500000.0);
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema_version','1');
INSERT INTO "meta" VALUES('secret','5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c');
CREATE TABLE task_outputs (
	task_uid TEXT NOT NULL, 
	image_index INTEGER NOT NULL, 
	blob_key TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	mime TEXT NOT NULL, 
	width_px INTEGER NOT NULL, 
	height_px INTEGER NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	seed BIGINT NOT NULL, 
	PRIMARY KEY (task_uid, image_index), 
	FOREIGN KEY(task_uid) REFERENCES tasks (uid)
);
INSERT INTO "task_outputs" VALUES('done',0,'out/20260101/done/t1/0.png','0000000000000000000000000000000000000000000000000000000000000000','image/png',64,48,1234,7);
INSERT INTO "task_outputs" VALUES('done',1,'out/20260101/done/t1/1.png','0000000000000000000000000000000000000000000000000000000000000000','image/png',64,48,1234,8);
CREATE TABLE tasks (
	seq INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	tenant TEXT NOT NULL, 
	action TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	priority SMALLINT DEFAULT '0' NOT NULL, 
	vtime FLOAT DEFAULT '0' NOT NULL, 
	model_key TEXT NOT NULL, 
	compat_key TEXT NOT NULL, 
	params JSON NOT NULL, 
	inputs JSON NOT NULL, 
	seed BIGINT NOT NULL, 
	num_images INTEGER NOT NULL, 
	points BIGINT NOT NULL, 
	note TEXT NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	crashes INTEGER DEFAULT '0' NOT NULL, 
	solo BOOLEAN DEFAULT 0 NOT NULL, 
	not_before FLOAT, 
	queue_deadline FLOAT, 
	owner TEXT, 
	token INTEGER DEFAULT '0' NOT NULL, 
	lease_until FLOAT, 
	cancel_requested BOOLEAN DEFAULT 0 NOT NULL, 
	progress FLOAT DEFAULT '0' NOT NULL, 
	stage TEXT DEFAULT '' NOT NULL, 
	error_code INTEGER DEFAULT '0' NOT NULL, 
	error_text TEXT DEFAULT '' NOT NULL, 
	created_at FLOAT NOT NULL, 
	started_at FLOAT, 
	finished_at FLOAT, 
	images_expire_at FLOAT, 
	images_purged BOOLEAN DEFAULT 0 NOT NULL, 
	record_expires_at FLOAT, 
	PRIMARY KEY (seq), 
	UNIQUE (uid), 
	CONSTRAINT task_status CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired'))
);
INSERT INTO "tasks" VALUES(1,'waits','alice','GenerateBackgrounds','running',0,0.0,'PICPIK General','PICPIK General/64x64','{"PositivePrompts": ["\u84dd\u5929"], "BatchSize": 1}','{"foreground": "in/20260101/waits/foreground"}',2147483647,1,3,'',1,3,0,0,NULL,NULL,'w1',2,1764500061.5,0,0.0,'',0,'',1764500000.5,1764500001.5,NULL,NULL,0,NULL);
INSERT INTO "tasks" VALUES(2,'done','alice','GenerateBackgrounds','succeeded',0,0.0,'PICPIK General','PICPIK General/64x64','{"PositivePrompts": ["\u84dd\u5929"], "BatchSize": 1}','{"foreground": "in/20260101/done/foreground"}',2147483647,2,3,'a note',1,3,0,0,NULL,NULL,NULL,1,NULL,0,1.0,'',0,'',1764500000.5,1764500001.5,1764500002.5,4764500002.5,0,4764500003.5);
INSERT INTO "tasks" VALUES(3,'queued','bob','GenerateBackgrounds','queued',0,0.0,'PICPIK General','PICPIK General/64x64','{"PositivePrompts": ["\u84dd\u5929"], "BatchSize": 1}','{"foreground": "in/20260101/queued/foreground"}',2147483647,1,3,'',0,3,0,0,NULL,NULL,NULL,0,NULL,0,0.0,'',0,'',1764500000.5,NULL,NULL,NULL,0,NULL);
CREATE INDEX tasks_unfinished ON tasks (tenant, seq) WHERE finished_at IS NULL;
CREATE INDEX tasks_records ON tasks (record_expires_at) WHERE record_expires_at IS NOT NULL;
CREATE INDEX tasks_running ON tasks (lease_until) WHERE state = 'running';
CREATE INDEX tasks_queued ON tasks (priority DESC, vtime, seq) WHERE state = 'queued';
CREATE INDEX tasks_images ON tasks (images_expire_at) WHERE images_expire_at IS NOT NULL;
CREATE INDEX tasks_waiting ON tasks (queue_deadline) WHERE state = 'queued';
COMMIT;
