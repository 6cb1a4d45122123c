"""Common given names of many countries, to tell names of people from names of things."""

_NAMES = """
aaron abdul adam adrian agnes ahmed akira alain alan albert alejandro
alessandro alex alexander
alexandra alfred ali alice alicia amanda amelie amy ana andrea
andreas andrew angela anita anja
ann anna anne annette anthony antoine antonio arthur astrid aurelie
barbara beatriz ben benjamin
bernard bernd bianca bjorn brian brigitte camila camille carl carla
carlos carmen carol caroline
catherine cecile charles charlotte chen chiara chloe chris christian christina christine
christoph christopher claire clara claude claudia clement cristina
daisuke dan daniel daniela
david deborah denise dennis diana diego dieter dirk dominik dominique donald dorothy edward
elena elisabeth elise elizabeth ella ellen emily emma emmanuel enrique enzo eric erik ernst
esther eva fabian fatima felix fernanda fernando filip florian
francesca francesco francisco
francois frank franz fred frederic friedrich gabriel gary georg
george gerhard giovanni gisela
giulia grace graham gregory guillaume gustavo hana hannah hans harald
harry haruto heike heinz
helen helena helene helga henri henry hiroshi hugo ian ines ingrid
irene isabel isabelle ivan
jack jacob jacques jakob james jan jana jane janet jean jeff jennifer
jens jessica jin joan joao
joe johan johann johanna john jonas jonathan jorge jose joseph juan
judith julia julian julie
juliette jun jurgen justin kai karen karin karl kate katharina
katherine kathrin kenji kenneth
kevin klaus kumar lara larry lars laura lea lena leo leon leonie li
liam lina linda lisa liu
louis louise luc luca lucas lucia lucie ludwig luis luisa lukas madeleine mads manon manuel
manuela marc marcel marco marcos margaret maria mariana marie marina
mario mark marko markus
marta martha martin martina mary mateo mathieu matthew matthias max maya megumi mehmet mei
melanie mia michael michel michelle miguel mika mohamed mohammed
monica monika monique nadia
nancy naoko natalie nicolas nicole nikolai nina noah olaf olga oliver
olivia olivier oscar otto
pablo paola paolo patricia patrick paul paula pauline pedro peter
petra philip philipp philippe
pierre rachel rafael ralf ramon raul rebecca renate ricardo richard
rita robert roberto roger
roland ronald rosa ruth ryan sabine sakura samuel sandra sara sarah satoshi scott sebastian
sergio simon simone sofia sophie stefan stefanie stephan stephen
steve steven sun susan susanne
sven sylvie takashi tanja tatiana teresa thomas tim timothy tobias
tom tomas ulrich ursula ute
valentina valerie vanessa vera veronica victor victoria vincent
virginie walter wang wei werner
wilhelm william wolfgang xavier yan yasmin yoko yuki yumi yusuf yves
zhang zoe 健一 大輔 太郎 美咲 翔太 花子
裕子 陽菜
"""

GIVEN = frozenset(_NAMES.split())
