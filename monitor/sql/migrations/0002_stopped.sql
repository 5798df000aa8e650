-- That an operator stopped a node must outlive a crash of this server, which empties autoctl.report (H2).

alter table autoctl.node add column stopped boolean not null default false;
