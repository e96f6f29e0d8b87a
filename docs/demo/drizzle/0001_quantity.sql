ALTER TABLE "orders" ADD COLUMN "quantity" integer DEFAULT 1 NOT NULL;--> statement-breakpoint
CREATE INDEX "orders_article_idx" ON "orders" USING btree ("article");
