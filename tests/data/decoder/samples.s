crc32b w0,w1,w2
aese v0.16b,v1.16b
sha1h s0,s1
sha256h q0,q1,v2.4s
pmull v0.1q,v1.1d,v2.1d
sha512h q0,q1,v2.2d
eor3 v0.16b,v1.16b,v2.16b,v3.16b
sm4e v0.4s,v1.4s
sm3partw1 v0.4s,v1.4s,v2.4s
ldadd w0,w1,[x2]
sqrdmlah v0.4s,v1.4s,v2.4s
fadd v0.8h,v1.8h,v2.8h
fmlal v0.4s,v1.4h,v2.4h
udot v0.4s,v1.16b,v2.16b
ldapr w0,[x1]
ldapur w0,[x1,#4]
fcmla v0.4s,v1.4s,v2.4s,#0
fjcvtzs w0,d1
retaa
rmif x0,#1,#2
cfinv
axflag
frint32z d0,d1
sb
bti c
fadd z0.s,z1.s,z2.s
whilege p0.s,x0,x1
bext z0.s,z1.s,z2.s
aese z0.b,z0.b,z1.b
rax1 z0.d,z1.d,z2.d
sm4e z0.s,z0.s,z1.s
bfdot v0.4s,v1.8h,v2.8h
bfdot z0.s,z1.h,z2.h
smmla v0.4s,v1.16b,v2.16b
smmla z0.s,z1.b,z2.b
fmmla z0.s,z1.s,z2.s
fmmla z0.d,z1.d,z2.d
mrs x0, rndr
stg x0,[x1]
wfet x0
fmopa za0.s,p0/m,p1/m,z0.s,z1.s
cpyfp [x0]!,[x1]!,x2!
ld64b x0,[x8]
ldlar w0,[x1]
esb
smax w0,w1,w2
rprfm #0,x0,[x1]
dgh
bc.eq #4
msr dit,#1
msr ssbs,#1
dc cvap,x0
dc cvadp,x0
ldclrp x0,x1,[x2]
add x0,x1,x2
ret
adrp x16,#0
ldrb w16,[x16,#16]
cbz w16,#12
ldaddal w0,w1,[x2]
smstart
mrs x0, TPIDR2_EL0
mrs x0, SVCR
mrs x0, DIT
msr DIT, #1
msr SSBS, #1
msr TCO, #1
mrs x0, FPMR
mrs x0, GCSPR_EL0
gcspushm x0
mrs x0, POR_EL0
mrs x0, CNTVCTSS_EL0
dc cvap, x0
dc cvadp, x0
dc gva, x0
cfp rctx, x0
tstart x0
msr DAIFSet, #1
mrs x0, SCTLR_EL1
mrs x0, ID_AA64ISAR0_EL1
mrs x0, CTR_EL0
mrs x0, CNTVCT_EL0
dc zva, x0
adrp x16, #40144896
add x16, x16, #292
br x16
cbz w16, #12
