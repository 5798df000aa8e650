-- Whether an operator chose these settings: a replacement monitor takes over those of the nodes that move to it, unless it was told others.

alter table autoctl.settings add column chosen boolean not null default false;
