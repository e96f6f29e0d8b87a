CREATE TABLE "notes" (
	"id" integer PRIMARY KEY NOT NULL,
	"tenant" text NOT NULL,
	"body" text NOT NULL
);
