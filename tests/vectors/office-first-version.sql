BEGIN TRANSACTION;
CREATE TABLE acceptances (
	id INTEGER NOT NULL, 
	finding VARCHAR(16) NOT NULL, 
	figures VARCHAR(256) NOT NULL, 
	accepted_by VARCHAR(64) NOT NULL, 
	why VARCHAR(200) NOT NULL, 
	utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE account_cards (
	terminal VARCHAR(36) NOT NULL, 
	token VARCHAR(64) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	added_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, token), 
	FOREIGN KEY(account) REFERENCES accounts (account)
);
CREATE TABLE account_checkouts (
	checkout VARCHAR(36) NOT NULL, 
	token VARCHAR(64) NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	connector INTEGER NOT NULL, 
	station VARCHAR(200) NOT NULL, 
	check_word VARCHAR(16) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	refused_as VARCHAR(32) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	hold VARCHAR(36) NOT NULL, 
	opened_utc_ms BIGINT NOT NULL, 
	expires_utc_ms BIGINT NOT NULL, 
	changed_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (checkout), 
	UNIQUE (terminal, "key"), 
	UNIQUE (token)
);
CREATE TABLE account_holds (
	hold VARCHAR(36) NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	slice_id VARCHAR(36) NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	asked_minor BIGINT NOT NULL, 
	held_minor BIGINT NOT NULL, 
	captured_minor BIGINT NOT NULL, 
	refunded_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	opened_utc_ms BIGINT NOT NULL, 
	changed_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (hold), 
	UNIQUE (terminal, "key"), 
	CHECK (captured_minor <= held_minor AND refunded_minor <= captured_minor), 
	CHECK (captured_minor >= 0 AND refunded_minor >= 0)
);
CREATE TABLE account_slices (
	slice_id VARCHAR(36) NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	token VARCHAR(64) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	spent_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	closed BOOLEAN NOT NULL, 
	granted_utc_ms BIGINT NOT NULL, 
	expires_utc_ms BIGINT NOT NULL, 
	jws TEXT NOT NULL, 
	PRIMARY KEY (slice_id), 
	UNIQUE (terminal, "key"), 
	CHECK (spent_minor >= 0 AND spent_minor <= amount_minor), 
	FOREIGN KEY(account) REFERENCES accounts (account)
);
CREATE TABLE accounts (
	account VARCHAR(36) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	label VARCHAR(64) NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	credit_minor BIGINT NOT NULL, 
	hold_max_minor BIGINT NOT NULL, 
	day_max_minor BIGINT NOT NULL, 
	blocked BOOLEAN NOT NULL, 
	secret_sha256 VARCHAR(64) NOT NULL, 
	balance_minor BIGINT NOT NULL, 
	held_minor BIGINT NOT NULL, 
	sliced_minor BIGINT NOT NULL, 
	added_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (account), 
	CHECK (held_minor >= 0 AND sliced_minor >= 0)
);
CREATE TABLE alarms (
	id INTEGER NOT NULL, 
	utc_ms BIGINT NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (terminal, chain_id, kind, detail)
);
CREATE TABLE chains (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	through_seq BIGINT NOT NULL, 
	through_sha256 VARCHAR(64) NOT NULL, 
	facts_through BIGINT NOT NULL, 
	claimed_seq BIGINT NOT NULL, 
	claimed_sha256 VARCHAR(64) NOT NULL, 
	seen_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id), 
	FOREIGN KEY(terminal) REFERENCES terminals (terminal)
);
INSERT INTO "chains" VALUES('T-0001','c1',4,'cfaf948b5062bd6a7fd336452e64988ed96429e7b4ea85ea3443a6617e4939af',0,4,'cfaf948b5062bd6a7fd336452e64988ed96429e7b4ea85ea3443a6617e4939af',1795726281715);
CREATE TABLE commands (
	terminal VARCHAR(36) NOT NULL, 
	number BIGINT NOT NULL, 
	command_id VARCHAR(64) NOT NULL, 
	act VARCHAR(64) NOT NULL, 
	args TEXT NOT NULL, 
	actor VARCHAR(64) NOT NULL, 
	reason VARCHAR(200) NOT NULL, 
	issued_utc_ms BIGINT NOT NULL, 
	expires_utc_ms BIGINT NOT NULL, 
	jws TEXT NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	handed BOOLEAN NOT NULL, 
	missed BOOLEAN NOT NULL, 
	answer TEXT NOT NULL, 
	changed_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, number), 
	UNIQUE (command_id)
);
CREATE TABLE conflicts (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	jws TEXT NOT NULL, 
	stored_utc_ms BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq, sha256), 
	FOREIGN KEY(terminal) REFERENCES terminals (terminal)
);
CREATE TABLE entries (
	posting INTEGER NOT NULL, 
	line INTEGER NOT NULL, 
	book VARCHAR(40) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	PRIMARY KEY (posting, line), 
	FOREIGN KEY(posting) REFERENCES postings (posting)
);
CREATE TABLE facts (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	utc_ms BIGINT NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	body TEXT NOT NULL, 
	stored_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq), 
	FOREIGN KEY(terminal) REFERENCES terminals (terminal)
);
CREATE TABLE faults (
	terminal VARCHAR(36) NOT NULL, 
	device VARCHAR(32) NOT NULL, 
	connector INTEGER NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	detail TEXT NOT NULL, 
	raised_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, device, connector, kind)
);
CREATE TABLE gateway_references (
	reference VARCHAR(64) NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (reference)
);
CREATE TABLE gateway_reports (
	gateway VARCHAR(64) NOT NULL, 
	from_utc_ms BIGINT NOT NULL, 
	until_utc_ms BIGINT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	kinds VARCHAR(64) NOT NULL, 
	imported_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (gateway, from_utc_ms, until_utc_ms, sha256, kinds)
);
CREATE TABLE gateway_rows (
	row_id VARCHAR(64) NOT NULL, 
	gateway VARCHAR(64) NOT NULL, 
	reference VARCHAR(128) NOT NULL, 
	about VARCHAR(128) NOT NULL, 
	ours VARCHAR(128) NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (row_id)
);
CREATE TABLE hold_terms (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	capture_before_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, hold_id)
);
CREATE TABLE holds (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	gateway VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	card VARCHAR(64) NOT NULL, 
	opened_utc_ms BIGINT NOT NULL, 
	changed_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, hold_id)
);
CREATE TABLE keys (
	terminal VARCHAR(36) NOT NULL, 
	key_id VARCHAR(64) NOT NULL, 
	purpose VARCHAR(8) NOT NULL, 
	spki_pem TEXT NOT NULL, 
	added_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, key_id, purpose), 
	FOREIGN KEY(terminal) REFERENCES terminals (terminal)
);
INSERT INTO "keys" VALUES('T-0001','j-mESTMBvXCYz6UPiChVqVQ4QQui6uhjqot_Fmp5ezk','record','-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3x35v0/1wfbOdID3JM5dZCNDh+p7
19m8sKcZ76kfFglFA8ev3Nwrk8lM4Ow15GVYMtporq5sfNaTpNLr3kdCfg==
-----END PUBLIC KEY-----
',1);
INSERT INTO "keys" VALUES('T-0001','sUpIsnYJYCEYSqUEEuFVAmYW-JGsfs_5PBlLoOtYhQE','ocmf','-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/8HslrGKgjD5nj4V7jYaWZSZ8y/+
0Zb+QmEMcGgSREzhKCNkcWPDT2XP0bf8N0GlCmjMzLOawaDN/uwd2/Eueg==
-----END PUBLIC KEY-----
',1);
CREATE TABLE live (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	connector INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	start_wh BIGINT, 
	energy_wh BIGINT, 
	changed_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, session_id)
);
CREATE TABLE ocmf_pages (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	key_id VARCHAR(64) NOT NULL, 
	page BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq)
);
INSERT INTO "ocmf_pages" VALUES('T-0001','c1',1,'sUpIsnYJYCEYSqUEEuFVAmYW-JGsfs_5PBlLoOtYhQE',1);
INSERT INTO "ocmf_pages" VALUES('T-0001','c1',3,'sUpIsnYJYCEYSqUEEuFVAmYW-JGsfs_5PBlLoOtYhQE',2);
CREATE TABLE payment_references (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	reference VARCHAR(128) NOT NULL, 
	name VARCHAR(32) NOT NULL, 
	PRIMARY KEY (terminal, chain_id, hold_id, reference)
);
INSERT INTO "payment_references" VALUES('T-0001','c1','H-7','000000000007','rrn');
INSERT INTO "payment_references" VALUES('T-0001','c1','H-7','H-7','hold_id');
CREATE TABLE phone_charges (
	token VARCHAR(64) NOT NULL, 
	origin VARCHAR(4) NOT NULL, 
	terminal VARCHAR(36) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	connector INTEGER NOT NULL, 
	station VARCHAR(200) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	hold VARCHAR(36) NOT NULL, 
	held_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	command_id VARCHAR(64) NOT NULL, 
	stop_command_id VARCHAR(64) NOT NULL, 
	made_utc_ms BIGINT NOT NULL, 
	changed_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (token), 
	UNIQUE (terminal, "key")
);
CREATE TABLE postings (
	posting INTEGER NOT NULL, 
	utc_ms BIGINT NOT NULL, 
	kind VARCHAR(12) NOT NULL, 
	source VARCHAR(36) NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	account VARCHAR(36) NOT NULL, 
	about VARCHAR(36) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	note VARCHAR(200) NOT NULL, 
	PRIMARY KEY (posting), 
	UNIQUE (source, kind, "key"), 
	FOREIGN KEY(account) REFERENCES accounts (account)
);
CREATE TABLE records (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	jws TEXT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	type VARCHAR(16) NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	stored_utc_ms BIGINT NOT NULL, 
	quarantine TEXT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq), 
	FOREIGN KEY(terminal) REFERENCES terminals (terminal)
);
INSERT INTO "records" VALUES('T-0001','c1',1,'eyJhbGciOiJFUzI1NiIsImtpZCI6ImotbUVTVE1CdlhDWXo2VVBpQ2hWcVZRNFFRdWk2dWhqcW90X0ZtcDVlemsiLCJ0eXAiOiJiaWxsaW5nLXJlY29yZCtqd3MifQ.eyJhdXRob3JpemF0aW9uX3JlZmVyZW5jZSI6IkgtNyIsImJlZ2luIjp7ImNsb2NrIjoiUyIsInV0Y19tcyI6MTc2NzM0NDQwMDAwMH0sImNoYWluX2lkIjoiYzEiLCJjaGFyZ2luZ19tcyI6MzYwMDAwMCwiY29ubmVjdG9yIjoxLCJjcmVhdGVkIjp7ImNsb2NrIjoiUyIsInV0Y19tcyI6MTc2NzM0ODAwMDAwMH0sImRlbW8iOnRydWUsImVuZCI6eyJjbG9jayI6IlMiLCJ1dGNfbXMiOjE3NjczNDgwMDAwMDB9LCJlbmVyZ3lfd2giOjEyMzQ1LCJldnNlX2lkIjoiREUqRVhBKkUxIiwibGluZXMiOlt7ImFtb3VudCI6MTIzNDUsImVsZW1lbnQiOjAsImdyb3NzX21pbm9yIjo3MjgsImtpbmQiOiJlbmVyZ3kiLCJsYXRlIjowLCJuZXRfbWlub3IiOjYxMiwicGVyIjoia1doIiwicHJpY2UiOiIwLjU5IiwicXVhbnRpdHkiOiIxMi4zNDUiLCJzdGVwcGVkIjowLCJ1bml0IjoiV2giLCJ2YXRfbWlub3IiOjExNiwidmF0X3BlcmNlbnQiOiIxOSJ9LHsiYW1vdW50IjozNjAwMDAwLCJlbGVtZW50IjowLCJncm9zc19taW5vciI6MTIwLCJraW5kIjoidGltZSIsImxhdGUiOjAsIm5ldF9taW5vciI6MTAxLCJwZXIiOiJoIiwicHJpY2UiOiIxLjIiLCJxdWFudGl0eSI6IjYwIiwic3RlcHBlZCI6MCwidW5pdCI6Im1zIiwidmF0X21pbm9yIjoxOSwidmF0X3BlcmNlbnQiOiIxOSJ9LHsiYW1vdW50IjoxLCJlbGVtZW50IjowLCJncm9zc19taW5vciI6MTAwLCJraW5kIjoiZmxhdCIsImxhdGUiOjAsIm5ldF9taW5vciI6ODQsInBlciI6InNlc3Npb24iLCJwcmljZSI6IjEiLCJxdWFudGl0eSI6IjEiLCJzdGVwcGVkIjowLCJ1bml0IjoiMSIsInZhdF9taW5vciI6MTYsInZhdF9wZXJjZW50IjoiMTkifV0sIm1ldGVyIjp7ImZpcm13YXJlIjoiMS4xNSIsIm1vZGVsIjoiU0RNNjMwLU1vZGJ1cyBWMiIsIm9iaXMiOiIwMS0wMDpCMi4wOC4wMCpGRiIsInByb2ZpbGVfc2hhMjU2IjoiIiwicmVzb2x1dGlvbl93aCI6MSwic2VyaWFsIjoiMjExMzAwNDIiLCJ2ZW5kb3IiOiJFYXN0cm9uIn0sIm9jbWYiOnsia2V5Ijoic1VwSXNuWUpZQ0VZU3FVRUV1RlZBbVlXLUpHc2ZzXzVQQmxMb090WWhRRSIsInJlY29yZCI6Ik9DTUZ8e1wiRlZcIjpcIjEuM1wiLFwiR0lcIjpcImNoYXJnZS10ZXJtaW5hbFwiLFwiR1NcIjpcIlQtMDAwMVwiLFwiR1ZcIjpcIjAuMS4wXCIsXCJQR1wiOlwiVDFcIixcIk1WXCI6XCJFYXN0cm9uXCIsXCJNTVwiOlwiU0RNNjMwLU1vZGJ1cyBWMlwiLFwiTVNcIjpcIjIxMTMwMDQyXCIsXCJNRlwiOlwiMS4xNVwiLFwiSVNcIjp0cnVlLFwiSUxcIjpcIlRSVVNURURcIixcIklGXCI6W10sXCJJVFwiOlwiQ0FSRF9UWE5fTlJcIixcIklEXCI6XCJTLTdcIixcIlRUXCI6XCIwLjU5IEVVUi9rV2hcIixcIkNGXCI6XCI4LjIuM1wiLFwiQ1RcIjpcIkVWU0VJRFwiLFwiQ0lcIjpcIkRFKkVYQSpFMVwiLFwiVVwiOntcImNlcnRpZmllZFwiOmZhbHNlLFwic2lnbmVkX2J5XCI6XCJ0ZXJtaW5hbFwifSxcIlJEXCI6W3tcIlRNXCI6XCIyMDI2LTAxLTAyVDEwOjAwOjAwLDAwMCswMTAwIFNcIixcIlRYXCI6XCJCXCIsXCJSVlwiOjEyMzQuNTYwLFwiUklcIjpcIjAxLTAwOkIyLjA4LjAwKkZGXCIsXCJSVVwiOlwia1doXCIsXCJSVFwiOlwiQUNcIixcIkVGXCI6XCJcIixcIlNUXCI6XCJHXCJ9LHtcIlRNXCI6XCIyMDI2LTAxLTAyVDExOjAwOjAwLDAwMCswMTAwIFNcIixcIlRYXCI6XCJMXCIsXCJSVlwiOjEyNDYuOTA1LFwiUklcIjpcIjAxLTAwOkIyLjA4LjAwKkZGXCIsXCJSVVwiOlwia1doXCIsXCJSVFwiOlwiQUNcIixcIkVGXCI6XCJcIixcIlNUXCI6XCJHXCJ9XX18e1wiU0FcIjpcIkVDRFNBLXNlY3AyNTZyMS1TSEEyNTZcIixcIlNFXCI6XCJoZXhcIixcIlNNXCI6XCJhcHBsaWNhdGlvbi94LWRlclwiLFwiU0RcIjpcIjMwNDUwMjIwNGJkZWQxMDg5OTUxOTEyNzhjM2UyNGI3MmY1NTEzN2MxMTg3MzZiNDNmYjYxYjViNzE3NTMxZjFmY2E4YWJhZTAyMjEwMGEzODc1OTM0ZDM5Yzc2NjcxZWVmODkxZjJiYjg1NWQxNzk4OThmOGZjYjg4MTQyZThiZmIyMWJmM2NhODg1ZDlcIn0iLCJzaGEyNTYiOiI0NDlmZmQyZGU2NmRlY2VhODk3ZDgxMTk1ZmQ1YWJkYjFmOGJiZDE1ODA5Yzc3MjMyNGM4MmY3YTgzYTI1Y2JkIn0sInBhcmtpbmdfbXMiOjAsInBheW1lbnQiOnsiYXV0aG9yaXplZF9taW5vciI6NTAwMCwiY2FwdHVyZV9taW5vciI6OTQ4LCJjYXJkIjp7ImFpZCI6IkEwMDAwMDAwMDQxMDEwIiwiYnJhbmQiOiJNYXN0ZXJjYXJkIiwiY3ZtIjoibm9uZSIsImVudHJ5IjoiY29udGFjdGxlc3MiLCJsYWJlbCI6Ik1hc3RlcmNhcmQiLCJsYXN0NCI6IjAwMTEifSwiZ2F0ZXdheSI6Im1haW4iLCJob2xkX2lkIjoiSC03Iiwic2hvcnRmYWxsX21pbm9yIjowLCJ0cmFjZSI6eyJhdXRoX2NvZGUiOiJBMUIyQzMiLCJycm4iOiIwMDAwMDAwMDAwMDcifX0sInBlcmlvZHMiOlt7ImNoYXJnaW5nX21zIjozNjAwMDAwLCJlbmVyZ3lfd2giOjEyMzQ1LCJwYXJraW5nX21zIjowLCJzdGFydF91dGNfbXMiOjE3NjczNDQ0MDAwMDB9XSwicHJldiI6IjAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJyZWNlaXB0Ijp7ImNvZGUiOiJhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYiIsIm51bWJlciI6IlItMSJ9LCJyZWdpc3RlciI6eyJzdGFydF93aCI6MTIzNDU2MCwic3RvcF9zb3VyY2UiOiJtZXRlciIsInN0b3Bfd2giOjEyNDY5MDV9LCJzZWxsZXIiOnsiYWRkcmVzcyI6IkV4YW1wbGUgU3RyZWV0IDEsIDEyMzQ1IEV4YW1wbGUiLCJuYW1lIjoiRXhhbXBsZSBDaGFyZ2luZyIsInZhdF9pZCI6IiJ9LCJzZXEiOjEsInNlc3Npb25faWQiOiJTLTEiLCJzaXRlIjp7ImNvdW50cnkiOiJERSIsInN0YXRpb24iOiJFeGFtcGxlIFN0YXRpb24iLCJ0aW1lX3pvbmUiOiJFdXJvcGUvQmVybGluIn0sInNvZnR3YXJlIjoiMC4xLjAiLCJzdG9wIjp7ImludGVycnVwdGVkIjpmYWxzZSwicmVhc29uIjoidG91Y2gifSwidGFyaWZmIjp7ImZpbmdlcnByaW50IjoiNGQ4MDA2YzI4NDA1YWMxN2U4ZDc1YmViOTRmMmJhZjM5NjkyMDg5YzVlYzUzYmNkMDk0MzViMmUzNTNlNjNmNSIsImlkIjoiVC0xIiwianNvbiI6IntcImNvdW50cnlfY29kZVwiOlwiREVcIixcImN1cnJlbmN5XCI6XCJFVVJcIixcImVsZW1lbnRzXCI6W3tcInByaWNlX2NvbXBvbmVudHNcIjpbe1wicHJpY2VcIjowLjU5LFwic3RlcF9zaXplXCI6MSxcInR5cGVcIjpcIkVORVJHWVwiLFwidmF0XCI6MTl9LHtcInByaWNlXCI6MSxcInN0ZXBfc2l6ZVwiOjEsXCJ0eXBlXCI6XCJGTEFUXCIsXCJ2YXRcIjoxOX0se1wicHJpY2VcIjoxLjIsXCJzdGVwX3NpemVcIjoxLFwidHlwZVwiOlwiVElNRVwiLFwidmF0XCI6MTl9XX1dLFwiaWRcIjpcIlQtMVwiLFwibGFzdF91cGRhdGVkXCI6XCIyMDI2LTAxLTAxVDAwOjAwOjAwWlwiLFwicGFydHlfaWRcIjpcIkVYQVwiLFwidGF4X2luY2x1ZGVkXCI6XCJZRVNcIn0ifSwidGVybWluYWwiOiJULTAwMDEiLCJ0b3RhbHMiOnsiY3VycmVuY3kiOiJFVVIiLCJuZXRfbWlub3IiOjc5NywidG90YWxfbWlub3IiOjk0OCwidmF0X21pbm9yIjoxNTF9LCJ0eXBlIjoic2Vzc2lvbiIsInYiOjF9.4dqFXQYJey65HUFPiFHN23AgH0KCqq4HdR4eAAdkdoFb0Okio60YJ5zpbGCjVtMpe1Mz3os0MdydZrUxsc5NSg','8d72e85cdd9d3e8c5ecccb7a4219ad61d42431b7212e59fd2b906921e92c380f','session','S-1',1795726281689,'');
INSERT INTO "records" VALUES('T-0001','c1',2,'eyJhbGciOiJFUzI1NiIsImtpZCI6ImotbUVTVE1CdlhDWXo2VVBpQ2hWcVZRNFFRdWk2dWhqcW90X0ZtcDVlemsiLCJ0eXAiOiJiaWxsaW5nLXJlY29yZCtqd3MifQ.eyJhbW91bnRfbWlub3IiOjk0OCwiYXV0aG9yaXphdGlvbl9yZWZlcmVuY2UiOiJILTciLCJhdXRob3JpemVkX21pbm9yIjo1MDAwLCJjaGFpbl9pZCI6ImMxIiwiY3JlYXRlZCI6eyJjbG9jayI6IlMiLCJ1dGNfbXMiOjE3NjczNDgwMDAwMDB9LCJjdXJyZW5jeSI6IkVVUiIsImRlbW8iOnRydWUsImRldGFpbCI6IiIsImVuZGVkIjp7ImNsb2NrIjoiUyIsInV0Y19tcyI6MTc2NzM0ODAwMDAwMH0sImdhdGV3YXkiOiJtYWluIiwiaG93IjoiY2FwdHVyZWQiLCJwcmV2IjoiOGQ3MmU4NWNkZDlkM2U4YzVlY2NjYjdhNDIxOWFkNjFkNDI0MzFiNzIxMmU1OWZkMmI5MDY5MjFlOTJjMzgwZiIsInJlY2VpcHQiOnsibnVtYmVyIjoiIn0sInNlcSI6Miwic2Vzc2lvbl9pZCI6IlMtMSIsInNvZnR3YXJlIjoiMC4xLjAiLCJ0ZXJtaW5hbCI6IlQtMDAwMSIsInRyYWNlIjp7fSwidHlwZSI6InNldHRsZW1lbnQiLCJ2IjoxfQ.zCM3cHzXRm_wXfWCQ8tGd2C0ngvZ9F2K1yQZ_Me9InTYa8HM5-dhVNWifgEdZVbNcK69pdEShtr_xMZ48AXIEg','401f944eaba7b8c68ffceb093265af8d71f69062b864034d5f53a3abfce74b6a','settlement','S-1',1795726281707,'');
INSERT INTO "records" VALUES('T-0001','c1',3,'eyJhbGciOiJFUzI1NiIsImtpZCI6ImotbUVTVE1CdlhDWXo2VVBpQ2hWcVZRNFFRdWk2dWhqcW90X0ZtcDVlemsiLCJ0eXAiOiJiaWxsaW5nLXJlY29yZCtqd3MifQ.eyJhdXRob3JpemF0aW9uX3JlZmVyZW5jZSI6IkgtNyIsImJlZ2luIjp7ImNsb2NrIjoiUyIsInV0Y19tcyI6MTc2NzM0NDQwMDAwMH0sImNoYWluX2lkIjoiYzEiLCJjaGFyZ2luZ19tcyI6MzYwMDAwMCwiY29ubmVjdG9yIjoxLCJjcmVhdGVkIjp7ImNsb2NrIjoiUyIsInV0Y19tcyI6MTc2NzM0ODAwMDAwMH0sImRlbW8iOnRydWUsImVuZCI6eyJjbG9jayI6IlMiLCJ1dGNfbXMiOjE3NjczNDgwMDAwMDB9LCJlbmVyZ3lfd2giOjEyMzQ1LCJldnNlX2lkIjoiREUqRVhBKkUxIiwibGluZXMiOlt7ImFtb3VudCI6MTIzNDUsImVsZW1lbnQiOjAsImdyb3NzX21pbm9yIjo3MjgsImtpbmQiOiJlbmVyZ3kiLCJsYXRlIjowLCJuZXRfbWlub3IiOjYxMiwicGVyIjoia1doIiwicHJpY2UiOiIwLjU5IiwicXVhbnRpdHkiOiIxMi4zNDUiLCJzdGVwcGVkIjowLCJ1bml0IjoiV2giLCJ2YXRfbWlub3IiOjExNiwidmF0X3BlcmNlbnQiOiIxOSJ9LHsiYW1vdW50IjozNjAwMDAwLCJlbGVtZW50IjowLCJncm9zc19taW5vciI6MTIwLCJraW5kIjoidGltZSIsImxhdGUiOjAsIm5ldF9taW5vciI6MTAxLCJwZXIiOiJoIiwicHJpY2UiOiIxLjIiLCJxdWFudGl0eSI6IjYwIiwic3RlcHBlZCI6MCwidW5pdCI6Im1zIiwidmF0X21pbm9yIjoxOSwidmF0X3BlcmNlbnQiOiIxOSJ9LHsiYW1vdW50IjoxLCJlbGVtZW50IjowLCJncm9zc19taW5vciI6MTAwLCJraW5kIjoiZmxhdCIsImxhdGUiOjAsIm5ldF9taW5vciI6ODQsInBlciI6InNlc3Npb24iLCJwcmljZSI6IjEiLCJxdWFudGl0eSI6IjEiLCJzdGVwcGVkIjowLCJ1bml0IjoiMSIsInZhdF9taW5vciI6MTYsInZhdF9wZXJjZW50IjoiMTkifV0sIm1ldGVyIjp7ImZpcm13YXJlIjoiMS4xNSIsIm1vZGVsIjoiU0RNNjMwLU1vZGJ1cyBWMiIsIm9iaXMiOiIwMS0wMDpCMi4wOC4wMCpGRiIsInByb2ZpbGVfc2hhMjU2IjoiIiwicmVzb2x1dGlvbl93aCI6MSwic2VyaWFsIjoiMjExMzAwNDIiLCJ2ZW5kb3IiOiJFYXN0cm9uIn0sIm9jbWYiOnsia2V5Ijoic1VwSXNuWUpZQ0VZU3FVRUV1RlZBbVlXLUpHc2ZzXzVQQmxMb090WWhRRSIsInJlY29yZCI6Ik9DTUZ8e1wiRlZcIjpcIjEuM1wiLFwiR0lcIjpcImNoYXJnZS10ZXJtaW5hbFwiLFwiR1NcIjpcIlQtMDAwMVwiLFwiR1ZcIjpcIjAuMS4wXCIsXCJQR1wiOlwiVDJcIixcIk1WXCI6XCJFYXN0cm9uXCIsXCJNTVwiOlwiU0RNNjMwLU1vZGJ1cyBWMlwiLFwiTVNcIjpcIjIxMTMwMDQyXCIsXCJNRlwiOlwiMS4xNVwiLFwiSVNcIjp0cnVlLFwiSUxcIjpcIlRSVVNURURcIixcIklGXCI6W10sXCJJVFwiOlwiQ0FSRF9UWE5fTlJcIixcIklEXCI6XCJTLTdcIixcIlRUXCI6XCIwLjU5IEVVUi9rV2hcIixcIkNGXCI6XCI4LjIuM1wiLFwiQ1RcIjpcIkVWU0VJRFwiLFwiQ0lcIjpcIkRFKkVYQSpFMVwiLFwiVVwiOntcImNlcnRpZmllZFwiOmZhbHNlLFwic2lnbmVkX2J5XCI6XCJ0ZXJtaW5hbFwifSxcIlJEXCI6W3tcIlRNXCI6XCIyMDI2LTAxLTAyVDEwOjAwOjAwLDAwMCswMTAwIFNcIixcIlRYXCI6XCJCXCIsXCJSVlwiOjEyMzQuNTYwLFwiUklcIjpcIjAxLTAwOkIyLjA4LjAwKkZGXCIsXCJSVVwiOlwia1doXCIsXCJSVFwiOlwiQUNcIixcIkVGXCI6XCJcIixcIlNUXCI6XCJHXCJ9LHtcIlRNXCI6XCIyMDI2LTAxLTAyVDExOjAwOjAwLDAwMCswMTAwIFNcIixcIlRYXCI6XCJMXCIsXCJSVlwiOjEyNDYuOTA1LFwiUklcIjpcIjAxLTAwOkIyLjA4LjAwKkZGXCIsXCJSVVwiOlwia1doXCIsXCJSVFwiOlwiQUNcIixcIkVGXCI6XCJcIixcIlNUXCI6XCJHXCJ9XX18e1wiU0FcIjpcIkVDRFNBLXNlY3AyNTZyMS1TSEEyNTZcIixcIlNFXCI6XCJoZXhcIixcIlNNXCI6XCJhcHBsaWNhdGlvbi94LWRlclwiLFwiU0RcIjpcIjMwNDYwMjIxMDBhMjIwYzM5Zjc1MzgyZTNkNjBjMTIyMjMxMGI3OWQ3MDM3OGNjMWZlYjY0ODM5NWE3N2Q3NzFhZGFiNDZjMTZmMDIyMTAwY2IxNzc4NmM1MDNhMzIxYzNjZGNhNjQwZjY0YTk2NGRkZmEzM2Q5NWNkYjA1MGJmNjdmZGYyMTk3ZDc3ZWVhMVwifSIsInNoYTI1NiI6ImJiNmRiYjNjYjFjYzc0NzA4Y2U3MTNhZmUwM2M4NzgxNWFmNGIxZGZkN2UwZWVhYTFiNjhmZTE5NGQyYWQzOTUifSwicGFya2luZ19tcyI6MCwicGF5bWVudCI6eyJhdXRob3JpemVkX21pbm9yIjo1MDAwLCJjYXB0dXJlX21pbm9yIjo5NDgsImNhcmQiOnsiYWlkIjoiQTAwMDAwMDAwNDEwMTAiLCJicmFuZCI6Ik1hc3RlcmNhcmQiLCJjdm0iOiJub25lIiwiZW50cnkiOiJjb250YWN0bGVzcyIsImxhYmVsIjoiTWFzdGVyY2FyZCIsImxhc3Q0IjoiMDAxMSJ9LCJnYXRld2F5IjoibWFpbiIsImhvbGRfaWQiOiJILTciLCJzaG9ydGZhbGxfbWlub3IiOjAsInRyYWNlIjp7ImF1dGhfY29kZSI6IkExQjJDMyIsInJybiI6IjAwMDAwMDAwMDAwNyJ9fSwicGVyaW9kcyI6W3siY2hhcmdpbmdfbXMiOjM2MDAwMDAsImVuZXJneV93aCI6MTIzNDUsInBhcmtpbmdfbXMiOjAsInN0YXJ0X3V0Y19tcyI6MTc2NzM0NDQwMDAwMH1dLCJwcmV2IjoiNDAxZjk0NGVhYmE3YjhjNjhmZmNlYjA5MzI2NWFmOGQ3MWY2OTA2MmI4NjQwMzRkNWY1M2EzYWJmY2U3NGI2YSIsInJlY2VpcHQiOnsiY29kZSI6ImFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFkIiwibnVtYmVyIjoiUi0zIn0sInJlZ2lzdGVyIjp7InN0YXJ0X3doIjoxMjM0NTYwLCJzdG9wX3NvdXJjZSI6Im1ldGVyIiwic3RvcF93aCI6MTI0NjkwNX0sInNlbGxlciI6eyJhZGRyZXNzIjoiRXhhbXBsZSBTdHJlZXQgMSwgMTIzNDUgRXhhbXBsZSIsIm5hbWUiOiJFeGFtcGxlIENoYXJnaW5nIiwidmF0X2lkIjoiIn0sInNlcSI6Mywic2Vzc2lvbl9pZCI6IlMtMyIsInNpdGUiOnsiY291bnRyeSI6IkRFIiwic3RhdGlvbiI6IkV4YW1wbGUgU3RhdGlvbiIsInRpbWVfem9uZSI6IkV1cm9wZS9CZXJsaW4ifSwic29mdHdhcmUiOiIwLjEuMCIsInN0b3AiOnsiaW50ZXJydXB0ZWQiOmZhbHNlLCJyZWFzb24iOiJ0b3VjaCJ9LCJ0YXJpZmYiOnsiZmluZ2VycHJpbnQiOiI0ZDgwMDZjMjg0MDVhYzE3ZThkNzViZWI5NGYyYmFmMzk2OTIwODljNWVjNTNiY2QwOTQzNWIyZTM1M2U2M2Y1IiwiaWQiOiJULTEiLCJqc29uIjoie1wiY291bnRyeV9jb2RlXCI6XCJERVwiLFwiY3VycmVuY3lcIjpcIkVVUlwiLFwiZWxlbWVudHNcIjpbe1wicHJpY2VfY29tcG9uZW50c1wiOlt7XCJwcmljZVwiOjAuNTksXCJzdGVwX3NpemVcIjoxLFwidHlwZVwiOlwiRU5FUkdZXCIsXCJ2YXRcIjoxOX0se1wicHJpY2VcIjoxLFwic3RlcF9zaXplXCI6MSxcInR5cGVcIjpcIkZMQVRcIixcInZhdFwiOjE5fSx7XCJwcmljZVwiOjEuMixcInN0ZXBfc2l6ZVwiOjEsXCJ0eXBlXCI6XCJUSU1FXCIsXCJ2YXRcIjoxOX1dfV0sXCJpZFwiOlwiVC0xXCIsXCJsYXN0X3VwZGF0ZWRcIjpcIjIwMjYtMDEtMDFUMDA6MDA6MDBaXCIsXCJwYXJ0eV9pZFwiOlwiRVhBXCIsXCJ0YXhfaW5jbHVkZWRcIjpcIllFU1wifSJ9LCJ0ZXJtaW5hbCI6IlQtMDAwMSIsInRvdGFscyI6eyJjdXJyZW5jeSI6IkVVUiIsIm5ldF9taW5vciI6Nzk3LCJ0b3RhbF9taW5vciI6OTQ4LCJ2YXRfbWlub3IiOjE1MX0sInR5cGUiOiJzZXNzaW9uIiwidiI6MX0.dvb2jV3u-X45ZJdfVIonHTAIPzjf1LZhy5deI1jSL62ihQsOCGNLm__MDctsjaTO-WnHKRyqx2JqiiBot8woQw','03b64319e41e20e40b3ce3369880b2058d39f2a3cd4d046897c53c39aaab2c3a','session','S-3',1795726281711,'');
INSERT INTO "records" VALUES('T-0001','c1',4,'eyJhbGciOiJFUzI1NiIsImtpZCI6ImotbUVTVE1CdlhDWXo2VVBpQ2hWcVZRNFFRdWk2dWhqcW90X0ZtcDVlemsiLCJ0eXAiOiJiaWxsaW5nLXJlY29yZCtqd3MifQ.eyJhbW91bnRfbWlub3IiOjk0OCwiYXV0aG9yaXphdGlvbl9yZWZlcmVuY2UiOiJILTciLCJhdXRob3JpemVkX21pbm9yIjo1MDAwLCJjaGFpbl9pZCI6ImMxIiwiY3JlYXRlZCI6eyJjbG9jayI6IlMiLCJ1dGNfbXMiOjE3NjczNDgwMDAwMDB9LCJjdXJyZW5jeSI6IkVVUiIsImRlbW8iOnRydWUsImRldGFpbCI6IiIsImVuZGVkIjp7ImNsb2NrIjoiUyIsInV0Y19tcyI6MTc2NzM0ODAwMDAwMH0sImdhdGV3YXkiOiJtYWluIiwiaG93IjoiY2FwdHVyZWQiLCJwcmV2IjoiMDNiNjQzMTllNDFlMjBlNDBiM2NlMzM2OTg4MGIyMDU4ZDM5ZjJhM2NkNGQwNDY4OTdjNTNjMzlhYWFiMmMzYSIsInJlY2VpcHQiOnsibnVtYmVyIjoiIn0sInNlcSI6NCwic2Vzc2lvbl9pZCI6IlMtMyIsInNvZnR3YXJlIjoiMC4xLjAiLCJ0ZXJtaW5hbCI6IlQtMDAwMSIsInRyYWNlIjp7fSwidHlwZSI6InNldHRsZW1lbnQiLCJ2IjoxfQ.Kedlpxe3fMwHiOCjyo95uvS4hDcILjCKse2MltUNeenJMOxfncQqJg-MLITd4XV0H0DYf_ZzKx89q3F9Tb21lQ','cfaf948b5062bd6a7fd336452e64988ed96429e7b4ea85ea3443a6617e4939af','settlement','S-3',1795726281713,'');
CREATE TABLE sessions (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	connector INTEGER NOT NULL, 
	evse_id VARCHAR(48) NOT NULL, 
	begin_utc_ms BIGINT NOT NULL, 
	end_utc_ms BIGINT NOT NULL, 
	energy_wh BIGINT NOT NULL, 
	net_minor BIGINT NOT NULL, 
	vat_minor BIGINT NOT NULL, 
	total_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	authorized_minor BIGINT NOT NULL, 
	capture_minor BIGINT NOT NULL, 
	card VARCHAR(64) NOT NULL, 
	stop_reason VARCHAR(32) NOT NULL, 
	receipt_number VARCHAR(64) NOT NULL, 
	receipt_code VARCHAR(64) NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq)
);
INSERT INTO "sessions" VALUES('T-0001','c1',1,'S-1',1,'DE*EXA*E1',1767344400000,1767348000000,12345,797,151,948,'EUR','H-7',5000,948,'Mastercard ···· 0011','touch','R-1','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab');
INSERT INTO "sessions" VALUES('T-0001','c1',3,'S-3',1,'DE*EXA*E1',1767344400000,1767348000000,12345,797,151,948,'EUR','H-7',5000,948,'Mastercard ···· 0011','touch','R-3','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaad');
CREATE TABLE settlements (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	session_id VARCHAR(64) NOT NULL, 
	hold_id VARCHAR(64) NOT NULL, 
	how VARCHAR(16) NOT NULL, 
	amount_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	ended_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq)
);
INSERT INTO "settlements" VALUES('T-0001','c1',2,'S-1','H-7','captured',948,'EUR',1767348000000);
INSERT INTO "settlements" VALUES('T-0001','c1',4,'S-3','H-7','captured',948,'EUR',1767348000000);
CREATE TABLE stray_facts (
	terminal VARCHAR(36) NOT NULL, 
	chain_id VARCHAR(64) NOT NULL, 
	seq BIGINT NOT NULL, 
	sent TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	stored_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (terminal, chain_id, seq), 
	FOREIGN KEY(terminal) REFERENCES terminals (terminal)
);
CREATE TABLE stray_notifications (
	sha256 VARCHAR(64) NOT NULL, 
	gateway VARCHAR(64) NOT NULL, 
	body TEXT NOT NULL, 
	received_utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (sha256)
);
CREATE TABLE terminals (
	terminal VARCHAR(36) NOT NULL, 
	token_sha256 VARCHAR(64) NOT NULL, 
	added_utc_ms BIGINT NOT NULL, 
	seen_utc_ms BIGINT, 
	chain_id VARCHAR(64), 
	PRIMARY KEY (terminal)
);
INSERT INTO "terminals" VALUES('T-0001','90824020c46916399cce9db3d07cbbee1bf1e441363d9a6d5fd067bb73b8e994',1,1795726281715,'c1');
CREATE TABLE tries (
	subject VARCHAR(96) NOT NULL, 
	minute BIGINT NOT NULL, 
	made INTEGER NOT NULL, 
	utc_ms BIGINT NOT NULL, 
	PRIMARY KEY (subject, minute)
);
CREATE INDEX ix_account_holds_account ON account_holds (account);
CREATE INDEX ix_account_holds_opened_utc_ms ON account_holds (opened_utc_ms);
CREATE INDEX ix_account_holds_state ON account_holds (state);
CREATE INDEX ix_commands_state ON commands (state);
CREATE INDEX ix_commands_issued_utc_ms ON commands (issued_utc_ms);
CREATE INDEX ix_gateway_rows_ours ON gateway_rows (ours);
CREATE INDEX ix_gateway_rows_about ON gateway_rows (about);
CREATE INDEX ix_gateway_rows_utc_ms ON gateway_rows (utc_ms);
CREATE INDEX ix_gateway_rows_reference ON gateway_rows (reference);
CREATE INDEX ix_payment_references_reference ON payment_references (reference);
CREATE INDEX ix_acceptances_finding ON acceptances (finding);
CREATE INDEX ix_tries_utc_ms ON tries (utc_ms);
CREATE INDEX ix_phone_charges_state ON phone_charges (state);
CREATE INDEX ix_sessions_session_id ON sessions (session_id);
CREATE INDEX ix_sessions_hold_id ON sessions (hold_id);
CREATE INDEX ix_sessions_end_utc_ms ON sessions (end_utc_ms);
CREATE INDEX ix_sessions_receipt_code ON sessions (receipt_code);
CREATE INDEX ix_settlements_hold_id ON settlements (hold_id);
CREATE INDEX ix_settlements_session_id ON settlements (session_id);
CREATE INDEX ix_ocmf_pages_key_id ON ocmf_pages (key_id);
CREATE INDEX ix_live_state ON live (state);
CREATE INDEX ix_holds_state ON holds (state);
CREATE INDEX ix_account_cards_account ON account_cards (account);
CREATE INDEX ix_account_slices_account ON account_slices (account);
CREATE INDEX ix_account_slices_granted_utc_ms ON account_slices (granted_utc_ms);
CREATE INDEX ix_postings_account ON postings (account);
CREATE TRIGGER postings_no_update BEFORE UPDATE ON postings BEGIN SELECT RAISE(ABORT, 'entries never change'); END;
CREATE TRIGGER postings_no_delete BEFORE DELETE ON postings BEGIN SELECT RAISE(ABORT, 'entries never change'); END;
CREATE INDEX ix_records_session_id ON records (session_id);
CREATE INDEX ix_facts_session_id ON facts (session_id);
CREATE INDEX ix_entries_account ON entries (account);
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries never change'); END;
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries never change'); END;
COMMIT;